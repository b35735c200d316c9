//! `salve policy check` and `salve policy test`.

use super::output;
use anyhow::Result;
use std::{path::PathBuf, process::ExitCode};

/// Rhai policies.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Read a folder of policies and say what is wrong with it.
    Check {
        /// The folder.
        #[arg(default_value = "policies")]
        directory: PathBuf,
    },
    /// Run the test files (`NAME.test.rhai`) that stand beside the policies.
    Test {
        /// The folder.
        #[arg(default_value = "policies")]
        directory: PathBuf,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Carries out the command. Exit code 1 if a policy or a test is wrong.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Check { directory } => match salve_policy::PolicySet::load(&directory) {
            Ok(set) => {
                output::say(&format!("{} policies, digest {}", set.names().len(), set.digest()));
                Ok(ExitCode::SUCCESS)
            }
            Err(errors) => {
                output::complain(&format!("error: {errors}"));
                Ok(ExitCode::from(1))
            }
        },
        Command::Test { directory, json } => {
            let report = match salve_policy::test(&directory) {
                Ok(report) => report,
                Err(errors) => {
                    output::complain(&format!("error: {errors}"));
                    return Ok(ExitCode::from(1));
                }
            };
            if json {
                output::say_json(&report)?;
            } else {
                output::say(&report.to_string());
            }
            Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
    }
}
