//! The workspace as cargo sees it.

use crate::process;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Folders, and the crates in them.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// Where the workspace's `Cargo.toml` stands.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds; `CARGO_TARGET_DIR` and configuration count.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    /// The members.
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

/// A crate that becomes a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// The package's name.
    pub(crate) package: String,
    /// File name of the core module.
    pub(crate) module: String,
    /// Its `plugin.toml`.
    pub(crate) manifest: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        // Baked in: `cargo xtask` works from any folder below the root.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut metadata = cargo_in(folder);
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
        let text = process::output(&mut metadata)?;
        serde_json::from_str(&text).context("cannot read what `cargo metadata` says")
    }

    /// `cargo ARGUMENTS` in the root, as a person would type it there.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = cargo_in(&self.root);
        if let Some((task, rest)) = arguments.split_first() {
            command.arg(task);
            // In CI the lock file is what was committed; elsewhere cargo may bring it up to date.
            if env::var_os("CI").is_some() && *task != "fmt" {
                command.arg("--locked");
            }
            command.args(rest);
        }
        command
    }

    /// `cargo ARGUMENTS` of programs that cargo does not bring along, which may not know `--locked`.
    pub(crate) fn cargo_plain(&self, arguments: &[&str]) -> Command {
        let mut command = cargo_in(&self.root);
        command.args(arguments);
        command
    }

    /// A program or file that cargo built in release.
    pub(crate) fn release(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where the finished things go.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// Crates with a `plugin.toml`, by name.
    pub(crate) fn guests(&self) -> Vec<Guest> {
        let mut guests: Vec<Guest> = self.packages.iter().filter_map(Package::guest).collect();
        guests.sort_by(|a, b| a.package.cmp(&b.package));
        guests
    }
}

impl Package {
    /// The crate's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    fn guest(&self) -> Option<Guest> {
        let manifest = self.folder().join("plugin.toml");
        let library =
            self.targets.iter().find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))?;
        manifest.is_file().then(|| Guest {
            package: self.name.clone(),
            module: format!("{}.wasm", library.name.replace('-', "_")),
            manifest,
        })
    }
}

/// Cargo without the variables that `cargo run` set for xtask itself: some build scripts watch them, and everything above
/// would be built again at each change between `cargo xtask build` and `cargo build`.
fn cargo_in(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let own = text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&&*text);
        if own {
            command.env_remove(&name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: every folder below `plugins` that has a manifest is a guest with a module of its own: a crate without
    /// `crate-type = ["cdylib"]` would be left out silently.
    #[test]
    fn every_manifest_has_a_guest() {
        let workspace = Workspace::find().unwrap();
        let guests = workspace.guests();
        for below in ["plugins", "examples"] {
            for folder in workspace.root.join(below).read_dir().unwrap() {
                let manifest = folder.unwrap().path().join("plugin.toml");
                let beside_cargo = manifest.with_file_name("Cargo.toml").is_file();
                let known = guests.iter().any(|guest| guest.manifest == manifest);
                assert_eq!(known, manifest.is_file() && beside_cargo, "{}", manifest.display());
            }
        }
        let mut modules: Vec<_> = guests.iter().map(|guest| &guest.module).collect();
        modules.sort();
        modules.dedup();
        assert_eq!(modules.len(), guests.len());
    }
}
