//! Running the tools of a language.

use super::BuildError;
use crate::Progress;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// Lines of a failed tool that are shown.
const LINES_SHOWN: usize = 40;

/// Runs a tool to its end; each line that it writes to standard error is told, and the last ones are kept for the
/// error. Standard output is given back.
///
/// # Errors
/// If it cannot be started (then `missing` is the error, if the program is not there) or does not succeed.
pub(super) fn run(
    command: &mut Command,
    step: &str,
    progress: &mut dyn Progress,
    missing: impl FnOnce() -> BuildError,
) -> Result<String, BuildError> {
    let typed = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let failed = |status: String, output: String| BuildError::Tool {
        step: step.to_owned(),
        command: typed.clone(),
        status,
        output,
    };
    progress.step(step);
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(failed(error.to_string(), String::new())),
    };
    // Read beside, so that neither pipe fills up and stops the tool.
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut stdout) = stdout {
            let _cut = std::io::Read::read_to_string(&mut stdout, &mut text);
        }
        text
    });
    let mut last = std::collections::VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            progress.line(&line);
            last.push_back(line);
            if last.len() > LINES_SHOWN {
                last.pop_front();
            }
        }
    }
    let status = child.wait().map_err(|error| failed(error.to_string(), String::new()))?;
    let text = reader.join().unwrap_or_default();
    if status.success() {
        return Ok(text);
    }
    last.extend(text.lines().rev().take(LINES_SHOWN).collect::<Vec<_>>().into_iter().rev().map(String::from));
    Err(failed(status.to_string(), Vec::from(last).join("\n")))
}
