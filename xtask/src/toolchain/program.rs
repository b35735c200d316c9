//! Programs that a machine may have, and that Debian's packages bring where it does not.

use crate::process;
use anyhow::{Context, Error, Result, ensure};
use std::{io, path::Path, process::Command};

/// Finds `program`: on the path, else by installing Debian's `package`, if we may. `asked`: arguments to which it answers.
pub(crate) fn find(program: &str, asked: &[&str], package: &str, why: &str) -> Result<()> {
    let there = || process::output(Command::new(program).args(asked)).is_ok();
    if there() {
        return Ok(());
    }
    let words = format!("{program} {}", asked.join(" "));
    let by_hand = format!("`{words}` does not work; install `{package}` (Debian) or its like: {why}");
    let root = process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let apt = process::output(Command::new("apt-get").arg("--version")).is_ok();
    ensure!(root && apt, "{by_hand}");
    eprintln!("installing Debian's `{package}`: {why}");
    let install = || {
        process::run(
            Command::new("apt-get")
                .args(["install", "-q", "-y", "--no-install-recommends", package])
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    // Without package lists apt knows no packages at all.
    if install().is_err() {
        process::run(Command::new("apt-get").args(["-q", "update"]))
            .and_then(|()| install())
            .context(by_hand.clone())?;
    }
    ensure!(there(), "{by_hand}");
    Ok(())
}

/// An error of the tool cache.
pub(crate) fn failed(step: &'static str, path: &Path, source: io::Error) -> Error {
    Error::new(source).context(format!("cannot {step} `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a program that is there is not installed again, and one that does not work is named with its reason.
    #[test]
    fn programs_are_found_or_named() {
        find("true", &[], "no-such-package", "it is a test").unwrap();
        let error = failed("write", Path::new("x"), io::Error::other("disk full"));
        assert_eq!(format!("{error:#}"), "cannot write `x`: disk full");
    }
}
