//! Checks that run nothing of the product.

use crate::{process, workspace::Workspace};
use anyhow::{Result, bail};
use std::{fs, process::Command};

/// What lints look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Libraries and binaries.
    Product,
    /// Tests and benchmarks too.
    All,
}

/// Nothing is formatted otherwise than `rustfmt.toml` says.
pub(crate) fn format(workspace: &Workspace) -> Result<()> {
    process::run(&mut workspace.cargo(&["fmt", "--all", "--", "--check"]))
}

/// No warning of the compiler or of clippy. In the release profile: checked dependencies are shared with the docs.
pub(crate) fn lints(workspace: &Workspace, scope: Scope) -> Result<()> {
    let mut clippy = workspace.cargo(&["clippy", "--release", "--workspace"]);
    if scope == Scope::All {
        clippy.arg("--all-targets");
    }
    process::run(clippy.args(["--", "-D", "warnings"]))
}

/// The API documentation builds without a warning.
pub(crate) fn docs(workspace: &Workspace, open: bool) -> Result<()> {
    // In the release profile, so that checked dependencies are shared with the lints.
    let mut doc = workspace.cargo(&["doc", "--release", "--workspace", "--no-deps"]);
    if open {
        doc.arg("--open");
    }
    process::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Lines of one source file; a longer one holds more than one concept.
const LINES_MAX: usize = 800;

/// Each crate says what it is for, and no file has grown beyond reading.
pub(crate) fn structure(workspace: &Workspace) -> Result<()> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let folder = package.folder();
        if !folder.join("README.md").is_file() {
            problems.push(format!(
                "`{}` has no README.md; say what comes in, what goes out and what is not its job",
                package.name
            ));
        }
        let mut open = vec![folder.join("src")];
        while let Some(folder) = open.pop() {
            for item in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = item.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let lines = fs::read_to_string(&path)?.lines().count();
                    if lines > LINES_MAX {
                        let shown = path.strip_prefix(&workspace.root).unwrap_or(&path).display().to_string();
                        problems
                            .push(format!("`{shown}` has {lines} lines, more than {LINES_MAX}; split it"));
                    }
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("the structure is not as it should be:\n{}", problems.join("\n"))
    }
}

/// Licences, advisories, duplicates and sources are as `deny.toml` allows.
pub(crate) fn deny(workspace: &Workspace) -> Result<()> {
    let installed = process::output(&mut workspace.cargo_plain(&["deny", "--version"])).is_ok();
    if !installed {
        println!("installing cargo-deny, which checks licences and advisories (about 4 CPU minutes)");
        process::run(&mut workspace.cargo_plain(&["install", "cargo-deny", "--locked"]))?;
    }
    process::run(&mut workspace.cargo_plain(&[
        "deny",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;
    // The advisory database comes from a server of its own; without it the rest still counts.
    let advisories =
        process::run(&mut workspace.cargo_plain(&["deny", "--all-features", "check", "advisories"]));
    if advisories.is_err() && !reachable() {
        println!("advisories were not checked: their database cannot be fetched from here");
        return Ok(());
    }
    advisories
}

/// Whether the advisory database can be asked at all.
fn reachable() -> bool {
    process::output(Command::new("git").args(["ls-remote", "https://github.com/RustSec/advisory-db", "HEAD"]))
        .is_ok()
}
