//! A plugin author's folder, and what commands say there.
#![allow(dead_code, reason = "tests each use a part")]

use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

/// A folder for one test's projects. Dependencies compile into a folder that all of them share.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Everything, for a test that fails.
    pub(crate) fn all(&self) -> String {
        format!("{}{}exit code {}", self.out, self.err, self.code)
    }

    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| self.all())
    }

    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.all());
        self
    }

    /// Failed with this exit code, saying all of these.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.all());
        for word in words {
            assert!(
                self.err.contains(word) || self.out.contains(word),
                "`{word}` is not said\n{}",
                self.all()
            );
        }
        self
    }
}

impl Desk {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("salve-authoring-").tempdir()? })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `salve plugin ARGUMENTS` in the folder. Plugins compile with the same toolchain as the first-party ones.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(salve_tests::salve());
        command
            .current_dir(self.folder.path())
            .arg("plugin")
            .args(arguments)
            .envs(salve_tests::components::building());
        command
    }

    pub(crate) fn salve(&self, arguments: &[&str]) -> Result<Said> {
        Ok(Said::of(&self.command(arguments).output()?))
    }

    /// A new project; in Rust with the versions of dependencies that the workspace has.
    pub(crate) fn new_project_in(&self, language: &str, name: &str, role: &str) -> Result<PathBuf> {
        self.salve(&["new", name, "--role", role, "--lang", language])?.good();
        let folder = self.path(name);
        if language == "rust" {
            fs::copy(salve_tests::root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
        }
        Ok(folder)
    }

    /// A new project in Rust.
    pub(crate) fn new_project(&self, name: &str, role: &str) -> Result<PathBuf> {
        self.new_project_in("rust", name, role)
    }

    /// What is in the folder, by name.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path())?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    }
}
