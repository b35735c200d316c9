//! Building what people run, and putting it together in `target/dist`.

use crate::{
    guests, process,
    toolchain::{self, Choice},
    workspace::Workspace,
};
use anyhow::{Context, Result};
use std::{fs, path::Path, process::Command};

/// The binaries of a distribution.
const BINARIES: [&str; 3] = ["salve", "salve-demo", "salve-demo-shop"];

/// Builds binaries, plugins and policies into `target/dist`.
pub(crate) fn build(workspace: &Workspace, choice: Choice) -> Result<()> {
    // First what can be missing: nobody should wait minutes for that message.
    let wasm = toolchain::find(workspace, choice)?;
    build_products(workspace)?;
    guests::build(workspace, &wasm)?;
    assemble(workspace)
}

/// Builds all binaries. The whole workspace, as for the tests: with another selection of crates, cargo would choose other
/// features of some dependencies and compile them, and everything above them, again.
pub(crate) fn build_products(workspace: &Workspace) -> Result<()> {
    process::run(&mut workspace.cargo(&["build", "--release", "--workspace", "--lib", "--bins"]))
}

/// Copies binaries and policies to `target/dist`.
pub(crate) fn assemble(workspace: &Workspace) -> Result<()> {
    let dist = workspace.dist();
    let programs = dist.join("bin");
    create(&programs)?;
    for binary in BINARIES {
        copy(&workspace.release(binary), &programs.join(binary))?;
    }
    let policies = dist.join("policies");
    mirror(&workspace.root.join("policies"), &policies)?;
    eprintln!("bin, plugins and policies are in {}", dist.display());
    Ok(())
}

/// The demo's program.
pub(crate) fn demo(workspace: &Workspace) -> Command {
    let mut command = Command::new(workspace.release("salve-demo"));
    command.current_dir(&workspace.root);
    command
}

/// Makes `to` hold the files of `from`, and no others.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    let names = |folder: &Path| -> Result<Vec<_>> {
        let reading = || format!("cannot read the folder `{}`", folder.display());
        let mut names = Vec::new();
        for item in fs::read_dir(folder).with_context(reading)? {
            let item = item.with_context(reading)?;
            if item.file_type().with_context(reading)?.is_file() {
                names.push(item.file_name());
            }
        }
        Ok(names)
    };
    let wanted = names(from)?;
    for name in names(to)?.iter().filter(|name| !wanted.contains(name)) {
        let path = to.join(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
    }
    wanted.iter().try_for_each(|name| copy(&from.join(name), &to.join(name)))
}

/// Copies by way of a temporary file: a daemon may run, or watch, what is replaced.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = to.with_file_name(name);
    fs::copy(from, &partial)
        .and_then(|_| fs::rename(&partial, to))
        .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))
}

pub(crate) fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder `{}`", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a policy that was removed from the source does not stay in force in the distribution.
    #[test]
    fn mirror_adds_replaces_and_removes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        create(&from).unwrap();
        create(&to).unwrap();
        fs::write(from.join("a"), "new").unwrap();
        fs::write(from.join("b"), "added").unwrap();
        fs::write(to.join("a"), "old").unwrap();
        fs::write(to.join("c"), "gone").unwrap();
        mirror(&from, &to).unwrap();
        let mut names: Vec<_> = to.read_dir().unwrap().map(|item| item.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(fs::read_to_string(to.join("a")).unwrap(), "new");
    }
}
