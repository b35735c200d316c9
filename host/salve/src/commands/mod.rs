//! The command line. One file per command; standard output is for what was asked, standard error for the rest.

mod doctor;
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
#[command(name = "salve", version, about, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
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
    /// Kill switch on: no write starts any more. Survives a restart.
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
        control::ask(&self.load()?.control_socket(), request)
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
    }
}

/// Who asks, for the ledger: the login name, or the numeric user.
fn user() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Prints an error with its causes, each once.
pub fn print_error(error: &anyhow::Error) {
    let mut message = format!("error: {error}");
    for cause in error.chain().skip(1) {
        message.push_str(&format!("\n  caused by: {cause}"));
    }
    output::complain(&message);
}
