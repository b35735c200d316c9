//! `salve plugin build`.

use super::progress::Shown;
use crate::commands::output;
use anyhow::Result;
use salve_authoring::{Project, size};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What is built.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The project.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Where the component goes. Default: `build/NAME.wasm` in the project.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show what the tools say.
    #[arg(long, short)]
    verbose: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Builds, and says how large the component is and what its digest.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let project = Project::open(&arguments.directory)?;
    let out = arguments.out.clone().unwrap_or_else(|| project.component());
    let mut progress = Shown::new(arguments.verbose);
    let built = project.build_to(&out, &mut progress)?;
    let seconds = progress.elapsed().as_secs_f64();
    drop(progress);
    let bytes = u64::try_from(built.component.len()).unwrap_or(u64::MAX);
    let digest = salve_plugins::pack::inspect(&built.component)?.digest;
    if arguments.json {
        output::say_json(&serde_json::json!({
            "component": out, "size_bytes": bytes, "sha256": digest, "seconds": seconds,
        }))?;
    } else {
        output::say(&format!("{}  {}  sha256 {digest}  {seconds:.1} s", out.display(), size(bytes)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The component of a project, built if it is older than its sources or if `always`; or the component itself.
pub fn component_of(path: &Path, always: bool) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let project = Project::open(path)?;
    let component = project.component();
    if always || !project.is_fresh() {
        project.build_to(&component, &mut Shown::new(false))?;
    }
    Ok(component)
}
