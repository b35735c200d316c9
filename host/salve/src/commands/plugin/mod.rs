//! `salve plugin …`: one file a command.

mod bench;
mod build;
mod check;
mod grants;
mod keygen;
mod list;
mod new;
mod pack;
mod pin;
mod progress;
mod pull;
mod push;
mod real;
mod registry;
mod rollout;
mod run;
mod secret;
mod sign;
mod test;
mod verify;

use super::JsonAndConfig;
use anyhow::{Context, Result};
use salve_plugins::GuestLogLine;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Components.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a project: manifest, code, tests on a recorded incident.
    New(new::Arguments),
    /// Build a project's component with its language's own tools.
    Build(build::Arguments),
    /// Say in plain words what a component is, what it may touch, and whether it would be loaded.
    Check(check::Arguments),
    /// Make one call of a component, as a dry-run, and show what it asks of the host.
    Run(run::Arguments),
    /// Run a project's test cases.
    Test(test::Arguments),
    /// Measure what a component costs: load, instance, call, memory, instructions.
    Bench(bench::Arguments),
    /// Make a component from a core module and a manifest.
    Pack(pack::Arguments),
    /// Show what a component says about itself and what it imports, without running it.
    Inspect {
        /// The component.
        component: PathBuf,
    },
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
        Command::New(arguments) => new::run(arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Pack(arguments) => pack::run(&arguments),
        Command::Inspect { component } => pack::inspect(&component),
        Command::Keygen(arguments) => keygen::run(&arguments),
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Push(arguments) => push::run(&arguments),
        Command::Pull(arguments) => pull::run(&arguments),
        Command::Pin(arguments) => pin::run(&arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Grants(arguments) => grants::run(&arguments),
        Command::Reload(arguments) => rollout::reload(arguments),
        Command::Accept(arguments) => rollout::accept(arguments),
        Command::Promote(arguments) => rollout::promote(arguments),
        Command::Rollback(arguments) => rollout::rollback(arguments),
    }
}

/// Reads a component, of a bounded size.
fn read_component(path: &Path) -> Result<Vec<u8>> {
    Ok(salve_distribution::read_bounded(path, salve_distribution::COMPONENT_BYTES_MAX)?)
}

/// Reads a component and its manifest.
fn read_plugin(path: &Path) -> Result<(Vec<u8>, salve_plugins::Manifest)> {
    let bytes = read_component(path)?;
    let manifest = salve_plugins::Manifest::of_component(&bytes)
        .with_context(|| format!("`{}` is no plugin", path.display()))?;
    Ok((bytes, manifest))
}

/// Runs what waits on a thread of its own; plugins have theirs.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    Ok(runtime.block_on(work))
}

/// Shows a plugin's log lines on standard error.
struct ShownLogs;

impl salve_plugins::LogSink for ShownLogs {
    fn write(&self, line: GuestLogLine) {
        let fields: String = line.fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let level = format!("{:?}", line.level).to_lowercase();
        super::output::complain(&format!("  log {level}: {}{fields}", line.message));
    }
}

/// Keeps a plugin's log lines to itself.
struct HiddenLogs;

impl salve_plugins::LogSink for HiddenLogs {
    fn write(&self, _line: GuestLogLine) {}
}
