//! `salve plugin …`: one file a command.

mod bench;
mod build;
mod check;
mod list;
mod new;
mod pack;
mod progress;
mod real;
mod run;
mod test;

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
    /// Plugins that the daemon has loaded.
    List(JsonAndConfig),
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
        Command::List(arguments) => list::run(&arguments),
    }
}

/// Reads a component, of a bounded size.
fn read_component(path: &Path) -> Result<Vec<u8>> {
    /// What the plugin host reads by default.
    const BYTES_MAX: u64 = 64 << 20;
    let reading = || format!("cannot read the component `{}`", path.display());
    let metadata = std::fs::metadata(path).with_context(reading)?;
    anyhow::ensure!(metadata.is_file(), "cannot read the component `{}`: it is no file", path.display());
    anyhow::ensure!(metadata.len() <= BYTES_MAX, "the component `{}` is larger than 64 MiB", path.display());
    std::fs::read(path).with_context(reading)
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
