//! The command line. One file per command; standard output is for what was asked, standard error for the rest.

mod doctor;
mod half_done;
mod incident;
mod ledger;
mod output;
mod plugin;
mod policy;
mod status;

use crate::{config, control, daemon};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Self-healing for anything that speaks OpenTelemetry.
#[derive(Debug, Parser)]
#[command(
    name = "salve",
    version,
    about,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(ConfigArgument),
    /// Check ports, permissions, plugins, policies and targets, and say what to do.
    Doctor(JsonAndConfig),
    /// How the running daemon is.
    Status(JsonAndConfig),
    /// Kill switch on: no write starts any more. Survives a restart. Lists what is half done, with the command that takes it
    /// back. The file `paused` in the state folder is the switch: `touch` does the same.
    Pause {
        /// Why, for the ledger.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Kill switch off.
    Resume(ConfigArgument),
    /// Read configuration, policies and plugins again.
    Reload(ConfigArgument),
    /// What was wrong, why, and what was done.
    #[command(subcommand)]
    Incident(incident::Command),
    /// The record of everything that was decided and done.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Components.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Rhai policies.
    #[command(subcommand)]
    Policy(policy::Command),
    /// What the daemon starts to compile a component.
    #[command(hide = true)]
    Compile {
        /// What to compile with, from the daemon.
        order: String,
    },
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgument {
    /// The configuration.
    #[arg(long, env = "SALVE_CONFIG", default_value = "/etc/salve/salve.toml", value_name = "FILE")]
    config: PathBuf,
}

impl ConfigArgument {
    fn load(&self) -> Result<config::Config> {
        Ok(config::load(&self.config, std::env::vars())?)
    }

    fn ask(&self, request: &control::Request) -> Result<control::Response> {
        control::ask(&self.state()?.control_socket(), request)
    }

    /// The configuration, or no more of it than where the state lies: a typo must not keep anybody from asking, and
    /// least of all from pausing, the daemon that runs on the old one.
    fn state(&self) -> Result<config::Config> {
        self.load().or_else(|error| config::state_only(&self.config).ok_or(error))
    }
}

/// Where the configuration is, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct JsonAndConfig {
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Carries out one command.
///
/// # Errors
/// Whatever the command says; the caller prints it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Run(config) => daemon::run(&config.config).map(|()| ExitCode::SUCCESS),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Pause { reason, config } => status::pause(&config, reason),
        Command::Resume(config) => status::simple(&config, &control::Request::Resume { by: user() }),
        Command::Reload(config) => status::simple(&config, &control::Request::Reload),
        Command::Incident(command) => incident::run(command),
        Command::Ledger(command) => ledger::run(command),
        Command::Plugin(command) => plugin::run(command),
        Command::Policy(command) => policy::run(command),
        Command::Compile { order } => salve_plugins::compile_as_told(&order, std::io::stdin())
            .map(|()| ExitCode::SUCCESS)
            .map_err(anyhow::Error::msg),
    }
}

/// Who asks, for the ledger: the login name, or the numeric user.
fn user() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Prints an error: what failed, why, each cause once, and at the end what can be done about it.
pub fn print_error(error: &anyhow::Error) {
    let mut hints: Vec<String> = error.chain().filter_map(hint_of).collect();
    let mut lines: Vec<String> = Vec::new();
    for (depth, cause) in error.chain().enumerate() {
        let text = cause.to_string();
        let (message, hint) = text
            .split_once("\n\nhint: ")
            .map_or((text.as_str(), None), |(message, hint)| (message, Some(hint)));
        hints.extend(hint.map(String::from));
        let line = if depth == 0 { format!("error: {message}") } else { format!("  caused by: {message}") };
        // Some libraries repeat their cause in their own message.
        if !lines.iter().any(|said| said.ends_with(message)) {
            lines.push(line);
        }
    }
    hints.dedup();
    output::complain(&lines.join("\n"));
    for hint in hints {
        output::complain(&format!("\nhint: {hint}"));
    }
}

/// What the failed part itself says can be done.
fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let of_ledger = || cause.downcast_ref::<salve_ledger::LedgerError>().map(salve_ledger::LedgerError::hint);
    let of_ingest = || cause.downcast_ref::<salve_ingest::IngestError>().map(salve_ingest::IngestError::hint);
    let of_load = || cause.downcast_ref::<salve_plugins::LoadError>()?.hint();
    let of_pack = || cause.downcast_ref::<salve_plugins::pack::PackError>()?.hint();
    let of_refusal = || cause.downcast_ref::<salve_plugins::Refusal>()?.hint();
    let of_manifest = || cause.downcast_ref::<salve_plugins::ManifestError>()?.hint();
    let of_project = || cause.downcast_ref::<salve_authoring::ProjectError>()?.hint();
    let of_build = || cause.downcast_ref::<salve_authoring::BuildError>()?.hint();
    let of_scaffold = || cause.downcast_ref::<salve_authoring::ScaffoldError>()?.hint();
    let of_trial = || cause.downcast_ref::<salve_authoring::trial::TrialError>()?.hint();
    of_ledger()
        .or_else(of_ingest)
        .or_else(of_load)
        .or_else(of_pack)
        .or_else(of_refusal)
        .or_else(of_manifest)
        .or_else(of_project)
        .or_else(of_build)
        .or_else(of_scaffold)
        .or_else(of_trial)
        .or_else(|| distribution_hint(cause))
}

/// Hints of `salve-distribution`.
fn distribution_hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    use salve_distribution::{FetchError, InstallError, KeyError, LockError, Refusal, SignatureError};
    let of_fetch = || cause.downcast_ref::<FetchError>()?.hint();
    let of_install = || cause.downcast_ref::<InstallError>()?.hint();
    let of_refusal = || cause.downcast_ref::<Refusal>()?.hint();
    let of_signature = || cause.downcast_ref::<SignatureError>()?.hint();
    let of_key = || cause.downcast_ref::<KeyError>()?.hint();
    let of_lock = || cause.downcast_ref::<LockError>()?.hint();
    of_fetch().or_else(of_install).or_else(of_refusal).or_else(of_signature).or_else(of_key).or_else(of_lock)
}
