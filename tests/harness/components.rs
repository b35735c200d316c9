//! Plugins built by the tools of their languages, once for all tests.
//!
//! ## What always holds
//! - a component is built again when a file of it, of its SDK, of the contract or of the builder changes, and not otherwise
//! - what is kept stands below cargo's target folder: components by a digest of all that made them, native code by the host's own
//!   cache
//!
//! Building a Python component takes 10 to 30 seconds, compiling it as long again.

#![expect(clippy::panic, clippy::expect_used, reason = "a test that lacks its subject must fail, loudly")]

use crate::{root, target};
use salve_authoring::{Progress, Project};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders of a project that tools fill. Those of the builder are all its own: one is named `build`.
const MADE: [&str; 5] = ["build", "target", "node_modules", "__pycache__", ".venv"];

/// Shows what the tools do, in the test's output.
struct Told;

impl Progress for Told {
    fn step(&mut self, what: &str) {
        eprintln!("{what}");
    }
    fn line(&mut self, line: &str) {
        eprintln!("  {line}");
    }
}

/// An error with its causes and hint.
#[must_use]
pub fn whole(error: &dyn std::error::Error, hint: Option<String>) -> String {
    salve_model::text::chain(error) + &hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}

/// Where the host keeps native code between tests.
#[must_use]
pub fn compiled() -> PathBuf {
    target().join("plugins-compiled")
}

/// The component of a project, manifest included. `with`: folders besides the project that it is made of.
///
/// # Panics
/// If it cannot be built: a tool that is missing is named, with what to install.
#[must_use]
pub fn built(folder: &Path, with: &[&Path]) -> Vec<u8> {
    let project = Project::open(folder).unwrap_or_else(|error| panic!("{}", whole(&error, error.hint())));
    let mut digest = Sha256::new();
    for folder in [folder].iter().chain(with) {
        add(folder, &MADE, &mut digest);
    }
    for folder in ["wit", "host/authoring/src", "host/plugins/src"] {
        add(&root().join(folder), &[], &mut digest);
    }
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let file = target().join("plugins-built").join(format!("{}-{digest}.wasm", project.manifest.name.0));
    if let Ok(component) = fs::read(&file) {
        return component;
    }
    let built = salve_authoring::build(&project, &mut Told)
        .unwrap_or_else(|error| panic!("`{}`: {}", folder.display(), whole(&error, error.hint())));
    fs::create_dir_all(target().join("plugins-built")).expect("the target folder can be written");
    let partial = file.with_extension(format!("{}.partial", std::process::id()));
    fs::write(&partial, &built.component).expect("the target folder can be written");
    fs::rename(&partial, &file).expect("the target folder can be written");
    built.component
}

/// Adds the names and contents of all files below a folder, but for those below folders of some names.
fn add(folder: &Path, without: &[&str], digest: &mut Sha256) {
    let mut items: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read `{}`: {error}", folder.display()))
        .map(|item| item.expect("a folder's item").path())
        .collect();
    items.sort();
    for path in items {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if without.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            add(&path, without, digest);
        } else if let Ok(bytes) = fs::read(&path) {
            digest.update(name.as_bytes());
            digest.update(bytes.len().to_le_bytes());
            digest.update(&bytes);
        }
    }
}
