//! Plugins built by the tools of their languages, once for all tests.
//!
//! ## What always holds
//! - a component is built again when a file of it, of its SDK, of the contract or of the builder changes, and not otherwise
//! - what is kept stands below cargo's target folder: components by a digest of all that made them, native code by the host's own
//!   cache
//!
//! Building a Python component takes 10 to 30 seconds, compiling it as long again.

#![expect(clippy::panic, clippy::expect_used, reason = "a test that lacks its subject must fail, loudly")]

use crate::{guest_environment, root, salve, target};
use salve_authoring::Project;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Folders of a project that tools fill. Those of the builder are all its own: one is named `build`.
const MADE: [&str; 5] = ["build", "target", "node_modules", "__pycache__", ".venv"];

/// The environment of commands that build plugins: all tests share what they compile and fetch, apart from the user's own, and Rust
/// is compiled by what `cargo xtask test` found.
#[must_use]
pub fn building() -> Vec<(String, String)> {
    let below_target = |name: &str| target().join(name).display().to_string();
    let shared = [
        ("CARGO_TARGET_DIR", below_target("test-plugins")),
        ("XDG_CACHE_HOME", below_target("test-cache")),
        // The profile of new projects, for all: macros depend on it, too.
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s".to_owned()),
        ("CARGO_PROFILE_RELEASE_LTO", "true".to_owned()),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1".to_owned()),
        ("CARGO_PROFILE_RELEASE_STRIP", "true".to_owned()),
    ];
    shared.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(guest_environment()).collect()
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
    let kept = target().join("plugins-built");
    fs::create_dir_all(&kept).expect("the target folder can be written");
    let file = kept.join(format!("{}-{digest}.wasm", project.manifest.name.0));
    // A project has one build folder, and tests of several programs share projects.
    let lock = File::create(kept.join(format!("{}.lock", project.manifest.name.0)));
    let _turn = lock.and_then(|lock| lock.lock().map(|()| lock)).expect("the target folder can be locked");
    if let Ok(component) = fs::read(&file) {
        return component;
    }
    let partial = file.with_extension("partial");
    let mut build = Command::new(salve());
    build.args(["plugin", "build", "--verbose"]).arg(folder).arg("--out").arg(&partial).envs(building());
    let output = build.output().expect("`salve` can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`salve plugin build {}`: {said}", folder.display());
    fs::rename(&partial, &file).expect("the target folder can be written");
    fs::read(&file).expect("what was built can be read")
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
