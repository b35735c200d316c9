//! A folder with a `plugin.toml` and code beside it.

use salve_plugins::{Manifest, ManifestError};
use std::path::{Path, PathBuf};

/// The file that says what a plugin is.
pub(crate) const MANIFEST: &str = "plugin.toml";

/// A language that plugins are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `Cargo.toml` is there.
    Rust,
    /// `go.mod` is there.
    Go,
    /// `package.json` is there.
    JavaScript,
    /// `pyproject.toml` is there.
    Python,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rust, Self::Go, Self::JavaScript, Self::Python];

    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::JavaScript => "js",
            Self::Python => "python",
        }
    }

    /// How the language's own unit tests are run in a project's folder.
    #[must_use]
    pub fn unit_tests(self) -> &'static str {
        match self {
            Self::Rust => "cargo test",
            Self::Go => "go test ./...",
            Self::JavaScript => "npm install && npm test",
            Self::Python => ".venv/bin/python -m unittest (README.md makes .venv)",
        }
    }

    /// The file of a project by which the language is known.
    #[must_use]
    pub fn marker(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Go => "go.mod",
            Self::JavaScript => "package.json",
            Self::Python => "pyproject.toml",
        }
    }
}

/// A project, read and checked.
#[derive(Debug, Clone)]
pub struct Project {
    /// Absolute.
    pub folder: PathBuf,
    /// What `plugin.toml` says.
    pub manifest: Manifest,
    /// Known by its marker file.
    pub language: Language,
}

/// Why a folder is no project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is refused.
    #[error("cannot use `{path}`")]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// No marker file, or those of several languages.
    #[error("cannot tell the language of `{folder}`: it has {found}")]
    Language {
        /// Which.
        folder: PathBuf,
        /// Marker files that are there, in words.
        found: String,
    },
}

impl ProjectError {
    /// What the author can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, .. } if path.ends_with(MANIFEST) => {
                Some("Go to a plugin's folder, or make one by `salve plugin new`.".into())
            }
            Self::Manifest { source, .. } => source.hint(),
            Self::Language { .. } => {
                Some("A project has one of Cargo.toml, go.mod, package.json, pyproject.toml.".into())
            }
            Self::Read { .. } => None,
        }
    }
}

impl Project {
    /// Reads the project in `folder`.
    ///
    /// # Errors
    /// [`ProjectError`] if the manifest is missing or refused, or the language cannot be told.
    pub fn open(folder: &Path) -> Result<Self, ProjectError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| ProjectError::Read { path, source }
        };
        let folder = std::path::absolute(folder).map_err(read(folder))?;
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(read(&path))?;
        let manifest =
            Manifest::from_toml(&text).map_err(|source| ProjectError::Manifest { path, source })?;
        let found: Vec<_> =
            Language::ALL.into_iter().filter(|language| folder.join(language.marker()).is_file()).collect();
        let [language] = found[..] else {
            let names: Vec<_> = found.iter().map(|language| language.marker()).collect();
            let found = if names.is_empty() { "none of the known files".into() } else { names.join(" and ") };
            return Err(ProjectError::Language { folder, found });
        };
        Ok(Self { folder, manifest, language })
    }

    /// Where builds may leave what they want to find again.
    #[must_use]
    pub fn build_folder(&self) -> PathBuf {
        self.folder.join("build")
    }
}
