//! Go: the Go compiler to a core module with WASI's imports, then the component around it with a stub in WASI's place.
//!
//! Nothing is generated: the SDK ([`sdk/go`](../../../../sdk/go)) has the contract in its packages, and Go's linker keeps the
//! imports that the code reaches.
//!
//! Go's start (its runtime's and every `init`) takes longer than most calls, and a fresh instance would pay for it each time. So
//! it runs here, once, and the component begins where it ended.

mod memory;
mod start;
mod stub;

pub use start::StartError;

use super::{BuildError, tool};
use crate::{Progress, Project};
use salve_plugins::pack;
use std::{path::PathBuf, process::Command};

/// The oldest Go that can export functions from WebAssembly (`go:wasmexport`): major, minor.
const OLDEST: (u32, u32) = (1, 24);

/// Pages that a plugin has from its beginning besides its data: what Go's runtime and a short call need.
const PAGES_MORE: u32 = 32;

/// The component, without its manifest.
pub(super) fn component(project: &Project, progress: &mut dyn Progress) -> Result<Vec<u8>, BuildError> {
    check_version(project, progress)?;
    let build = project.build_folder();
    let file = |step: &'static str, path: PathBuf| move |source| BuildError::File { step, path, source };
    std::fs::create_dir_all(&build).map_err(file("make", build.clone()))?;
    let module = build.join("plugin.core.wasm");
    let mut go = go(project);
    go.env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        // Paths and commits would make equal sources give other bytes.
        .args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(&module);
    if !project.folder.join("go.sum").exists() && !project.folder.join("vendor").exists() {
        // A new project whose SDK is the published one: what it depends on is looked up and written down now.
        go.arg("-mod=mod");
    }
    go.arg(".");
    tool::run(&mut go, "compile to WebAssembly", progress, missing)?;
    let bytes = std::fs::read(&module).map_err(file("read the core module", module.clone()))?;
    let bytes = memory::raise(&bytes, PAGES_MORE).unwrap_or(bytes);
    progress.step("run Go's start and every `init`, once");
    let (bytes, stub) = start::run(&bytes, &stub::Stub::new(&project.manifest))?;
    progress.step("make a component of it");
    pack::encode(&bytes, &project.manifest, Some((stub::WASI, &stub.module()?))).map_err(BuildError::Pack)
}

/// `go` in the project's folder, without downloading another Go.
fn go(project: &Project) -> Command {
    let mut command = Command::new("go");
    command.current_dir(&project.folder).env("GOTOOLCHAIN", "local");
    command
}

fn missing() -> BuildError {
    let (major, minor) = OLDEST;
    BuildError::ToolMissing {
        tool: format!("`go` {major}.{minor} or newer"),
        language: "Go",
        install: format!(
            "Install Go {major}.{minor} or newer (go.dev/dl, or your package manager), and put `go` into PATH."
        ),
    }
}

/// An old Go fails with words that help nobody, so its version is looked at first.
fn check_version(project: &Project, progress: &mut dyn Progress) -> Result<(), BuildError> {
    let said = tool::run(go(project).args(["env", "GOVERSION"]), "look for Go", progress, missing)?;
    match version(&said) {
        Some(found) if found < OLDEST => Err(missing()),
        _ => Ok(()),
    }
}

/// Major and minor of `go1.26.8`; none for words of other forms, such as those of development versions.
fn version(said: &str) -> Option<(u32, u32)> {
    let (major, rest) = said.trim().strip_prefix("go")?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the oldest Go that works is told from older ones, whatever follows the numbers.
    #[test]
    fn versions() {
        assert_eq!(version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(version("go1.24rc1"), Some((1, 24)));
        assert_eq!(version("go1.19.8 X:nocoverageredesign"), Some((1, 19)));
        assert_eq!(version("devel +abc"), None);
        assert!(version("go1.9").unwrap() < OLDEST);
    }
}
