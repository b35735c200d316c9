//! Debian's packages, unpacked into a folder of our own: no root, and nothing of the system changes or starts.

use crate::process;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What `apt-cache` says.
fn ask(arguments: &[&str], options: &[String]) -> Result<String> {
    process::output(Command::new("apt-cache").args(options).args(arguments).env("LC_ALL", "C"))
}

/// Options that make apt use package lists of our own below `folder`, if the system's do not know `package`.
fn lists(package: &str, folder: &Path) -> Result<Vec<String>> {
    // As root, apt would drop to a user that cannot write here; to others the option means nothing.
    let sandbox = "-oAPT::Sandbox::User=root".to_owned();
    let system = vec![sandbox.clone()];
    if knows(package, &system)? {
        return Ok(system);
    }
    let own = folder.join("apt");
    for below in ["lists/partial", "cache/archives/partial"] {
        let below = own.join(below);
        fs::create_dir_all(&below).with_context(|| format!("cannot create `{}`", below.display()))?;
    }
    let option = |name: &str, below: &str| format!("-o{name}={}", own.join(below).display());
    let options = vec![option("Dir::State::Lists", "lists"), option("Dir::Cache", "cache"), sandbox];
    eprintln!("updating package lists in {}: the system's do not know {package}", own.display());
    process::run(Command::new("apt-get").args(&options).args(["-q", "update"]))?;
    ensure!(knows(package, &options)?, "Debian's package lists here have no `{package}`");
    Ok(options)
}

fn knows(package: &str, options: &[String]) -> Result<bool> {
    let policy = ask(&["policy", package], options).context("this needs a Debian system")?;
    Ok(policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)")))
}

/// Whether the system has the package.
fn is_installed(package: &str) -> bool {
    process::output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Downloads and unpacks `package` into `folder`, with those of its dependencies that `wanted` picks and the system lacks.
/// `why` is said first.
pub(crate) fn unpack(
    package: &str,
    wanted: impl Fn(&str) -> bool,
    folder: &Path,
    why: &str,
) -> Result<PathBuf> {
    let root = folder.join(package);
    let done = root.join("unpacked");
    if done.is_file() {
        return Ok(root);
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let options = lists(package, folder)?;
    let depends = ["depends", "--recurse", "--important", package];
    let mut packages: Vec<String> = ask(&depends, &options)?
        .lines()
        // Packages stand at the beginning of a line, what they depend on is indented and stands there later itself.
        .filter(|line| !line.starts_with([' ', '<', '|']))
        .map(|line| line.trim().to_owned())
        .filter(|name| wanted(name) && !is_installed(name))
        .collect();
    packages.push(package.to_owned());
    packages.sort();
    packages.dedup();
    eprintln!("downloading {} from Debian into {}, {why}", packages.join(", "), folder.display());
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove `{}`", root.display()))?;
    }
    let downloads = root.join("downloads");
    fs::create_dir_all(&downloads).with_context(|| format!("cannot create `{}`", downloads.display()))?;
    process::run(
        Command::new("apt-get")
            .args(&options)
            .args(["-q", "download"])
            .args(&packages)
            .current_dir(&downloads),
    )?;
    let listing = || format!("cannot read `{}`", downloads.display());
    for file in fs::read_dir(&downloads).with_context(listing)? {
        let file = file.with_context(listing)?.path();
        process::run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&root))?;
    }
    fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove `{}`", downloads.display()))?;
    // Written last: what a broken run left is made again.
    fs::write(&done, "").with_context(|| format!("cannot write `{}`", done.display()))?;
    Ok(root)
}
