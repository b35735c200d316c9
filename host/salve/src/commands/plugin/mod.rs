//! `salve plugin …`: one file per command.

mod keygen;
mod pin;
mod pull;
mod push;
mod registry;
mod secret;
mod sign;
mod verify;

use super::{JsonAndConfig, output};
use crate::control::{Request, Response};
use anyhow::{Context, Result, bail};
use salve_model::text::escape;
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
    /// Plugins that the daemon has loaded.
    List(JsonAndConfig),
    /// Make a key pair to sign plugins with.
    Keygen(keygen::Arguments),
    /// Sign a component; the signature goes beside it.
    Sign(sign::Arguments),
    /// Say whether a component may load, and whose it is. Needs no network.
    Verify(verify::Arguments),
    /// Put a component and its signature into an OCI registry.
    Push(push::Arguments),
    /// Fetch a component, verify it, and put it into the plugin folder and the lock file.
    Pull(pull::Arguments),
    /// Let just this content load, unsigned: write its digest into the lock file.
    Pin(pin::Arguments),
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
        Command::List(arguments) => {
            let Response::Plugins(plugins) = arguments.config.ask(&Request::Plugins)? else {
                bail!("the daemon answered something else")
            };
            if arguments.json {
                output::say_json(&plugins)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut rows =
                vec![["name", "version", "role", "state", "targets", "summary"].map(String::from).to_vec()];
            rows.extend(plugins.into_iter().map(|plugin| {
                let targets = plugin.targets.join(",");
                vec![
                    plugin.name,
                    plugin.version,
                    plugin.role,
                    plugin.state,
                    targets,
                    escape(&plugin.summary, 80),
                ]
            }));
            output::say(&output::table(&rows));
            Ok(ExitCode::SUCCESS)
        }
        Command::Keygen(arguments) => keygen::run(&arguments),
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Push(arguments) => push::run(&arguments),
        Command::Pull(arguments) => pull::run(&arguments),
        Command::Pin(arguments) => pin::run(&arguments),
    }
}

/// Reads a component and its manifest.
fn read_component(path: &std::path::Path) -> Result<(Vec<u8>, salve_plugins::Manifest)> {
    let bytes = salve_distribution::read_bounded(path, salve_distribution::COMPONENT_BYTES_MAX)?;
    let manifest = salve_plugins::Manifest::of_component(&bytes)
        .with_context(|| format!("`{}` is no plugin", path.display()))?;
    Ok((bytes, manifest))
}
