//! Running programs: each one is shown first, and none waits for input.

use anyhow::{Context, Error, Result, anyhow, bail};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{shown}`"))?;
    if status.success() { Ok(()) } else { bail!("`{shown}` failed: {status}") }
}

/// Runs `command` and gives each line of its standard output to `line` while it is also shown. One that says nothing for
/// longer than `silence` hangs: it is stopped.
pub(crate) fn run_lines(command: &mut Command, silence: Duration, mut line: impl FnMut(&str)) -> Result<()> {
    let shown = show(command);
    let start = || format!("cannot start `{shown}`");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(start)?;
    let output = child.stdout.take().with_context(start)?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for text in BufReader::new(output).split(b'\n') {
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let mut last = String::new();
    loop {
        match lines.recv_timeout(silence) {
            Ok(text) => {
                let text = text.with_context(|| format!("cannot read what `{shown}` says"))?;
                last = String::from_utf8_lossy(&text).into_owned();
                println!("{last}");
                line(&last);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().and_then(|()| child.wait()).with_context(|| format!("cannot stop `{shown}`"))?;
                bail!("`{shown}` hangs: the last line, {} s ago, was `{last}`", silence.as_secs());
            }
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    if status.success() { Ok(()) } else { bail!("`{shown}` failed: {status}") }
}

/// Runs `command` quietly and gives back its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = words(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` did not write text"))
}

/// Runs `command` to its end, but not longer than `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let shown = show(command);
    let mut child =
        command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for `{shown}`"))? {
            return if status.success() {
                Ok(())
            } else {
                Err(anyhow::anyhow!("`{shown}` failed: {status}"))
            };
        }
        if Instant::now() >= deadline {
            child.kill().and_then(|()| child.wait()).with_context(|| format!("cannot stop `{shown}`"))?;
            bail!("`{shown}` did not end within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// `command` with the time that others leave over: it runs beside what somebody waits for.
pub(crate) fn nicely(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    nice
}

/// What a thread ended with.
pub(crate) fn join(thread: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("a thread of this program panicked")).flatten()
}

/// Becomes `command`, with this terminal. Returns only if that fails.
pub(crate) fn replace(command: &mut Command) -> Error {
    let shown = show(command);
    Error::new(command.exec()).context(format!("cannot start `{shown}`"))
}

fn show(command: &Command) -> String {
    let shown = words(command);
    eprintln!("$ {shown}");
    shown
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a program that hangs is stopped, and the message says which one.
    #[test]
    fn a_hanging_program_is_stopped() {
        let error = run_within(Command::new("sleep").arg("600"), Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.to_string(), "`sleep 600` did not end within 0 s");

        let mut silent = Command::new("sh");
        silent.args(["-c", "echo ready; exec sleep 600"]);
        let error = run_lines(&mut silent, Duration::from_millis(500), |_| ()).unwrap_err();
        assert!(error.to_string().ends_with("hangs: the last line, 0 s ago, was `ready`"), "{error}");
    }

    /// Guarantees: a command that is run nicely is the same in all else.
    #[test]
    fn nicely_is_the_same_command() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "nice; pwd; echo $NAME-$HOME"])
            .env("NAME", "value")
            .env_remove("HOME")
            .current_dir("/");
        assert_eq!(output(&mut nicely(&command)).unwrap(), "19\n/\nvalue-\n");
    }

    /// Guarantees: failures name the command; lines arrive one by one.
    #[test]
    fn failures_are_named() {
        let mut lines = Vec::new();
        let patience = Duration::from_secs(60);
        let error = run_lines(Command::new("sh").args(["-c", "echo a; echo b; exit 3"]), patience, |line| {
            lines.push(line.to_owned());
        })
        .unwrap_err();
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(error.to_string(), "`sh -c echo a; echo b; exit 3` failed: exit status: 3");
    }
}
