//! What builds and tests plugins in Python: Python with pip, and the pinned tools from PyPI.
//!
//! Needed by `salve plugin build` for such plugins, and by the tests of the Python SDK and examples.

use super::{pins, program};
use crate::{dist, process, workspace::Workspace};
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::symlink, path::Path};

/// What packs the Python SDK as PyPI takes it: the backend that its `pyproject.toml` names.
const PACKAGING: pins::Tools =
    pins::Tools { folder: "python-setuptools-80.9.0", packages: &["setuptools==80.9.0"] };

/// Finds or installs all of it, and says what and why.
pub(crate) fn prepare(workspace: &Workspace) -> Result<()> {
    const WHY: &str = "they build and test plugins in Python";
    program::find("python3", &["--version"], "python3", WHY)?;
    let install = |tools: pins::Tools, why: &str| {
        tools.install(program::failed, |folder: &Path| {
            // Only now: where the tool is installed already, nobody needs pip.
            program::find("python3", &["-m", "pip", "--version"], "python3-pip", why)?;
            eprintln!("installing {} from PyPI: {why}", tools.packages.join(" and "));
            process::run(&mut tools.pip(Path::new("python3"), folder))
        })
    };
    let folder = install(pins::PYTHON, WHY).context("cannot install what makes components of Python")?;
    println!("Python and the tools in {} build Python plugins", folder.display());
    let packaging = install(PACKAGING, "it packs the Python SDK, which a test does")
        .context("cannot install what packs the Python SDK")?;
    link(&packaging, &workspace.target.join("tools"))
}

/// Puts a tool where tests find it: as `python-packaging` in `tools`.
fn link(folder: &Path, tools: &Path) -> Result<()> {
    dist::create(tools)?;
    let place = tools.join("python-packaging");
    if fs::read_link(&place).is_ok_and(|to| to == folder) {
        return Ok(());
    }
    // Not there, or a link to an older one.
    fs::remove_file(&place).unwrap_or_default();
    symlink(folder, &place).with_context(|| format!("cannot make the link `{}`", place.display()))
}
