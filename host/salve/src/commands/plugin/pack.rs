//! `salve plugin pack` and `inspect`.

use super::read_component;
use crate::commands::output;
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What is packed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The core module that the compiler wrote.
    module: PathBuf,
    /// The manifest, `plugin.toml`.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Where the component goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Makes a component of a module.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { module, manifest, out, json } = arguments;
    let bytes = std::fs::read(module)
        .with_context(|| format!("cannot read the core module `{}`", module.display()))?;
    let text = std::fs::read_to_string(manifest)
        .with_context(|| format!("cannot read the manifest `{}`", manifest.display()))?;
    let component = salve_plugins::pack::pack(&bytes, &text)
        .with_context(|| format!("cannot pack `{}`", module.display()))?;
    // Whole or not at all, so that a daemon that watches the folder never sees half of it.
    salve_authoring::write_whole(out, &component)
        .with_context(|| format!("cannot write the component `{}`", out.display()))?;
    if *json {
        let digest = salve_plugins::pack::inspect(&component)?.digest;
        let answer = serde_json::json!({ "component": out, "size_bytes": component.len(), "sha256": digest });
        output::say_json(&answer)?;
    } else {
        output::complain(&format!("{} ({} KiB)", out.display(), component.len().div_ceil(1024)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what is inside, in JSON. Exit code 1 if no host would load it.
pub fn inspect(component: &Path) -> Result<ExitCode> {
    let inspection = salve_plugins::pack::inspect(&read_component(component)?)?;
    output::say_json(&inspection)?;
    Ok(if inspection.objection.is_none() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
