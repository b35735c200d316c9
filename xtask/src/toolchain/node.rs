//! What builds and tests plugins in JavaScript: Node.js with npm, and the pinned tools from npm.
//!
//! Needed by `salve plugin build` for such plugins, and by the tests of the JavaScript SDK and examples.

use super::{pins, program};
use crate::process;
use anyhow::{Context, Result, bail};
use std::{path::Path, process::Command};

/// The SDK's tests use what Node has since then.
const MAJOR_MIN: u32 = 20;

/// Finds or installs all of it, and says what and why.
pub(crate) fn prepare() -> Result<()> {
    const WHY: &str = "they build and test plugins in JavaScript";
    program::find("node", &["--version"], "nodejs", WHY)?;
    program::find("npm", &["--version"], "npm", WHY)?;
    let version = process::output(Command::new("node").arg("--version"))?;
    match major(&version) {
        Some(major) if major >= MAJOR_MIN => {}
        _ => bail!(
            "Node.js is {}, version {MAJOR_MIN} or newer is needed: install it from nodejs.org",
            version.trim()
        ),
    }
    let tools = pins::JAVASCRIPT;
    let folder = tools
        .install(program::failed, |folder: &Path| {
            eprintln!("installing {} from npm: {WHY}", tools.packages.join(" and "));
            let package = folder.join("package.json");
            std::fs::write(&package, "{\"private\":true}\n")
                .with_context(|| format!("cannot write `{}`", package.display()))?;
            process::run(&mut tools.npm(folder))
        })
        .context("cannot install what makes components of JavaScript")?;
    println!("Node.js {} and the tools in {} build JavaScript plugins", version.trim(), folder.display());
    Ok(())
}

/// Of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: versions as Node prints them are understood; anything else is not taken for new enough.
    #[test]
    fn versions() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("v18.0.0"), Some(18));
        assert_eq!(major("20.1"), None);
        assert_eq!(major(""), None);
    }
}
