//! `salve plugin check`.

use super::{build, read_component};
use crate::commands::output;
use anyhow::Result;
use std::{path::PathBuf, process::ExitCode};

/// What is looked at.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A component, or a project, which is built if need be.
    #[arg(default_value = ".")]
    component: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Says what the component is. Exit code 1 if no host would load it.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let path = build::component_of(&arguments.component, false)?;
    let checked = salve_authoring::check::check(&read_component(&path)?)?;
    if arguments.json {
        output::say_json(&checked)?;
    } else {
        output::say(&checked.lines.join("\n"));
    }
    Ok(if checked.admitted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
