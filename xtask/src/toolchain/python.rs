//! What builds and tests plugins in Python: Python with pip, and the pinned tool from PyPI.
//!
//! Needed by `salve plugin build` for such plugins, and by the tests of the Python SDK and examples.

use super::{pins, program};
use crate::process;
use anyhow::{Context, Result};
use std::path::Path;

/// Finds or installs all of it, and says what and why.
pub(crate) fn prepare() -> Result<()> {
    const WHY: &str = "they build and test plugins in Python";
    program::find("python3", &["--version"], "python3", WHY)?;
    let tools = pins::PYTHON;
    let folder = tools
        .install(program::failed, |folder: &Path| {
            // Only now: where the tool is installed already, nobody needs pip.
            program::find("python3", &["-m", "pip", "--version"], "python3-pip", WHY)?;
            eprintln!("installing {} from PyPI: {WHY}", tools.packages.join(" and "));
            process::run(&mut tools.pip(Path::new("python3"), folder))
        })
        .context("cannot install what makes components of Python")?;
    println!("Python and the tools in {} build Python plugins", folder.display());
    Ok(())
}
