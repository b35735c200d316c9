//! Running the tools of a language.

use super::{BuildError, join, lean};
use crate::Progress;
use salve_plugins::Manifest;
use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind},
    path::Path,
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

/// A [`BuildError::File`].
pub(super) fn file_error(step: &'static str, path: &Path, source: std::io::Error) -> BuildError {
    BuildError::File { step, path: path.to_owned(), source }
}

/// Writes a file of the build, and the folders above it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| file_error("create the folder", folder, error))?;
    fs::write(path, text).map_err(|error| file_error("write", path, error))
}

/// Reads the component that a tool made, with its core modules joined if they can be, and made lean.
pub(super) fn component(
    path: &Path,
    manifest: &Manifest,
    progress: &mut dyn Progress,
) -> Result<Vec<u8>, BuildError> {
    let bytes = read(path)?;
    lean(path, join::component(&bytes, manifest, progress).as_ref().unwrap_or(&bytes))
}

/// The same; none if its core modules cannot be joined.
pub(super) fn joined(
    path: &Path,
    manifest: &Manifest,
    progress: &mut dyn Progress,
) -> Result<Option<Vec<u8>>, BuildError> {
    let bytes = read(path)?;
    join::component(&bytes, manifest, progress).map(|joined| lean(path, &joined)).transpose()
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|error| file_error("read the component", path, error))
}

fn lean(path: &Path, component: &[u8]) -> Result<Vec<u8>, BuildError> {
    let wrong = |error| file_error("read the component", path, std::io::Error::other(error));
    lean::component(component).map_err(wrong)
}

/// Reads a file of the project.
pub(super) fn read_text(path: &Path) -> Result<String, BuildError> {
    fs::read_to_string(path).map_err(|error| file_error("read", path, error))
}

/// Removes what an earlier build made, so that it cannot be taken for the new one.
pub(super) fn remove(path: &Path) -> Result<(), BuildError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error("remove", path, error)),
        _ => Ok(()),
    }
}

/// Writes a world, for tools that read WIT from a folder.
pub(super) fn write_wit(folder: &Path, files: &[(&str, String)]) -> Result<(), BuildError> {
    files.iter().try_for_each(|(name, text)| write(&folder.join(name), text))
}

/// A package manager that did not bring the tools: most often there is no way to the registry.
pub(super) fn not_installed(
    error: BuildError,
    tools: &str,
    language: &'static str,
    by_hand: &str,
) -> BuildError {
    let BuildError::Tool { command, status, output, .. } = error else { return error };
    BuildError::NotInstalled {
        tools: tools.to_owned(),
        language,
        command,
        status,
        reason: reason(&output).into(),
        by_hand: by_hand.into(),
    }
}

/// The line that says why a package manager failed: the one with a reason, else the last; npm ends with where its log is.
fn reason(output: &str) -> &str {
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling =
        |line: &&str| !line.contains("A complete log of this run") && !line.contains("behind a proxy");
    lines()
        .find(|line| line.contains("reason: "))
        .or_else(|| lines().rev().find(telling))
        .unwrap_or("it said nothing")
}

/// Whether a program can be started and answers `--version`.
pub(super) fn is_there(program: &Path) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: of what npm and pip say without a network, the line with the reason is shown.
    #[test]
    fn reasons() {
        let npm = "npm error code ECONNREFUSED\nnpm error FetchError: request to http://r/x failed, reason: connect ECONNREFUSED\n\
                   npm error     at f (x.js:1:1)\nnpm error A complete log of this run can be found in: /x\n";
        assert!(reason(npm).ends_with("reason: connect ECONNREFUSED"));
        assert_eq!(
            reason("npm error 404 x\nnpm error A complete log of this run can be found in: /x"),
            "npm error 404 x"
        );
        assert_eq!(reason("ERROR: a\nERROR: b\n\n"), "ERROR: b");
        assert_eq!(reason(""), "it said nothing");
    }
}
