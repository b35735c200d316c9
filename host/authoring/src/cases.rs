//! A project's test cases: recordings below `tests/`, made again and compared.

use crate::{
    Project,
    expectation::{differences, updated},
    trial::{Answers, Conditions, Recording, Trial, TrialError, Unwatched},
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Most cases of one project.
const CASES_MAX: usize = 1_000;

/// How a project's cases went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// In the order of their names.
    pub cases: Vec<CaseReport>,
}

/// How one case went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseReport {
    /// File name.
    pub file: String,
    /// What the file says it is about.
    pub about: String,
    /// Whether it is as expected.
    pub passed: bool,
    /// What is not: one line each.
    pub differences: Vec<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Its expectation was written anew.
    pub updated: bool,
}

impl Report {
    /// Cases that are not as expected.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.passed).count()
    }
}

/// The case files of a project, by name.
///
/// # Errors
/// [`TrialError::Read`] if the folder cannot be read.
pub fn files(project: &Project) -> Result<Vec<PathBuf>, TrialError> {
    let folder = project.folder.join("tests");
    let wrong = |source| TrialError::Read { path: folder.clone(), source };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|ending| ending == "json") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    files.truncate(CASES_MAX);
    Ok(files)
}

/// Runs cases. With `update`, what came out becomes what is expected.
pub async fn run(trial: &Trial, files: &[PathBuf], update: bool) -> Report {
    let mut report = Report::default();
    for path in files {
        report.cases.push(case(trial, path, update).await);
    }
    report
}

async fn case(trial: &Trial, path: &Path, update: bool) -> CaseReport {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut report = CaseReport {
        file,
        about: String::new(),
        passed: false,
        differences: Vec::new(),
        hint: None,
        updated: false,
    };
    if let Err(error) = compare(trial, path, update, &mut report).await {
        report.hint = error.hint();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            report.differences.push(error.to_string());
            cause = error.source();
        }
    }
    report
}

async fn compare(
    trial: &Trial,
    path: &Path,
    update: bool,
    report: &mut CaseReport,
) -> Result<(), TrialError> {
    let mut recording = Recording::read(path)?;
    report.about.clone_from(&recording.about);
    let request = recording.request(path)?;
    let answers = match &recording.host_calls {
        Some(recorded) => Answers::Replay(recorded.clone()),
        None => Answers::Paper,
    };
    let conditions = Conditions { answers, apply: recording.apply, watch: Arc::new(Unwatched) };
    let ran = trial.run(recording.call, &request, &conditions).await?;
    report.differences = match &recording.expect {
        Some(expected) => differences(expected, &ran.result),
        None => vec!["the case expects nothing".into()],
    };
    report.passed = report.differences.is_empty();
    if report.passed {
        return Ok(());
    }
    if update {
        recording.expect = Some(updated(recording.expect.as_ref(), &ran.result));
        recording.write(path)?;
        (report.passed, report.updated) = (true, true);
    } else {
        report.hint = Some("If this is right, `--update` makes it the expectation.".into());
    }
    Ok(())
}
