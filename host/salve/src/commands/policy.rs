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
        Command::Check { directory } => match salve_policy::check(&directory) {
            Ok(report) => {
                output::say(&format!("{} · digest {}", report.policies.join(", "), report.digest));
                if !report.untested.is_empty() {
                    output::say(&format!("without tests: {}", report.untested.join(", ")));
                }
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
                for test in &report.tests {
                    match &test.failure {
                        None => output::say(&format!("ok    {} {}", test.file, test.name)),
                        Some(failure) => {
                            output::say(&format!("FAIL  {} {}\n      {failure}", test.file, test.name));
                            test.hint.iter().for_each(|hint| output::say(&format!("      → {hint}")));
                        }
                    }
                }
                output::say(&format!("{} passed, {} failed", report.passed(), report.failed()));
            }
            Ok(if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
    }
}
