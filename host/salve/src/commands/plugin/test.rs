//! `salve plugin test`.

use super::{HiddenLogs, block_on, build};
use crate::commands::output;
use anyhow::Result;
use salve_authoring::{
    Project, cases, compiled_folder,
    trial::{self, Trial},
};
use salve_model::text::escape;
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// What is tested.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The project.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Make what comes out the expectation, where it is not.
    #[arg(long)]
    update: bool,
    /// Build first, even if no source is newer than the component (an SDK may be).
    #[arg(long)]
    build: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the cases. Exit code 1 if one is not as expected, or if there are none.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let project = Project::open(&arguments.directory)?;
    let component = build::component_of(&arguments.directory, arguments.build)?;
    let files = cases::files(&project)?;
    let trial = Trial::load(&component, trial::host_config(compiled_folder()), Arc::new(HiddenLogs))?;
    let report = block_on(cases::run(&trial, &files, arguments.update))?;
    let good = report.failed() == 0 && !report.cases.is_empty();
    if arguments.json {
        output::say_json(&report)?;
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) });
    }
    for case in &report.cases {
        let word = match (case.updated, case.passed) {
            (true, _) => "new ",
            (_, true) => "ok  ",
            (_, false) => "FAIL",
        };
        output::say(&format!("{word}  {}  {}", case.file, escape(&case.about, 120)));
        if !case.passed {
            case.differences.iter().for_each(|difference| output::say(&format!("      {difference}")));
            case.hint.iter().for_each(|hint| output::say(&format!("      → {hint}")));
        }
    }
    if report.cases.is_empty() {
        output::say(
            "there are no cases in `tests`: make one by `salve plugin run … --record tests/NAME.json`",
        );
    }
    output::say(&format!(
        "{} passed, {} failed; unit tests of the code: {}",
        report.cases.len() - report.failed(),
        report.failed(),
        project.language.unit_tests()
    ));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
