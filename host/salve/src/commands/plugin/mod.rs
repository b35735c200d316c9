//! `salve plugin …`: one file per command.

mod grants;
mod list;
mod rollout;

use super::{JsonAndConfig, output};
use anyhow::{Context, Result};
use std::{path::PathBuf, process::ExitCode};

/// Components.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a component from a core module and a manifest.
    Pack {
        /// The core module that the compiler wrote.
        module: PathBuf,
        /// The manifest, `plugin.toml`.
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
        /// Where the component goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show what a component says about itself and what it imports, without running it.
    Inspect {
        /// The component.
        component: PathBuf,
    },
    /// Plugins that the daemon has loaded, with the state of each version, and what they did and cost.
    List(JsonAndConfig),
    /// What a plugin can do and why; or the least grants that it needs.
    Grants(grants::Arguments),
    /// Read a plugin's file again; a version that failed or is in quarantine is tried anew.
    Reload(rollout::OfPlugin),
    /// Show in what a version that is held asks for more, and let it go on.
    Accept(rollout::Accept),
    /// Make the version under trial active now.
    Promote(rollout::Promote),
    /// End the trial of a new version, or go back to the version before the active one.
    Rollback(rollout::OfPlugin),
}

/// Carries out the command.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Pack { module, manifest, out } => {
            let bytes = std::fs::read(&module)
                .with_context(|| format!("cannot read the core module `{}`", module.display()))?;
            let text = std::fs::read_to_string(&manifest)
                .with_context(|| format!("cannot read the manifest `{}`", manifest.display()))?;
            let component = salve_plugins::pack::pack(&bytes, &text)
                .with_context(|| format!("cannot pack `{}`", module.display()))?;
            // Written beside and renamed, so that a daemon that watches the folder never sees half of it.
            let temporary = out.with_extension("wasm.partial");
            std::fs::write(&temporary, &component)
                .and_then(|()| std::fs::rename(&temporary, &out))
                .with_context(|| format!("cannot write the component `{}`", out.display()))?;
            output::complain(&format!("{} ({} KiB)", out.display(), component.len().div_ceil(1024)));
            Ok(ExitCode::SUCCESS)
        }
        Command::Inspect { component } => {
            let bytes = std::fs::read(&component)
                .with_context(|| format!("cannot read `{}`", component.display()))?;
            let inspection = salve_plugins::pack::inspect(&bytes)?;
            output::say_json(&inspection)?;
            Ok(if inspection.objection.is_none() { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Command::List(arguments) => list::run(&arguments),
        Command::Grants(arguments) => grants::run(&arguments),
        Command::Reload(arguments) => rollout::reload(arguments),
        Command::Accept(arguments) => rollout::accept(arguments),
        Command::Promote(arguments) => rollout::promote(arguments),
        Command::Rollback(arguments) => rollout::rollback(arguments),
    }
}
