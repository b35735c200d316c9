//! From a project to a component, by the tools of its language.

mod go;
mod immortal;
mod javascript;
mod join;
mod lean;
mod native;
mod pins;
mod python;
mod rust;
mod sdk;
mod segments;
mod tool;

pub use go::StartError;

use crate::{Language, Progress, Project};
use salve_plugins::pack::{self, PackError};
use std::path::PathBuf;

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// The component, manifest included.
    pub component: Vec<u8>,
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A program is not there.
    #[error("cannot find {tool}, which builds plugins in {language}")]
    ToolMissing {
        /// Its name.
        tool: String,
        /// In words.
        language: &'static str,
        /// What to do.
        install: String,
    },
    /// A package manager did not bring the tools: most often there is no way to its registry.
    #[error(
        "cannot install {tools}, which build plugins in {language}: `{command}` ended with {status}: {reason}"
    )]
    NotInstalled {
        /// Names and versions.
        tools: String,
        /// In words.
        language: &'static str,
        /// As typed.
        command: String,
        /// Exit code or signal.
        status: String,
        /// The line that says why.
        reason: Box<str>,
        /// What does the same in the project, where there is a network.
        by_hand: Box<str>,
    },
    /// A program said no.
    #[error("cannot {step}: `{command}` ended with {status}\n{output}")]
    Tool {
        /// What was to be done.
        step: String,
        /// As typed.
        command: String,
        /// Exit code or signal.
        status: String,
        /// Its last lines.
        output: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {step} `{path}`")]
    File {
        /// What was to be done.
        step: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Go's start, which runs when the plugin is built, did not come to its end.
    #[error("cannot run Go's start, which is part of the build")]
    Start(#[source] StartError),
    /// What the tools made is no plugin.
    #[error("cannot make a component of what was compiled")]
    Pack(#[source] PackError),
}

impl BuildError {
    /// What the author can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ToolMissing { install, .. } => Some(install.clone()),
            Self::NotInstalled { by_hand, .. } => Some(format!(
                "If the network is down, try again later; or install them in the project where there is one: `{by_hand}`."
            )),
            Self::Start(error) => Some(error.hint().to_owned()),
            Self::Pack(error) => error.hint(),
            Self::Tool { output, .. } => hint_in(output).map(str::to_owned),
            Self::File { .. } => None,
        }
    }
}

const UNREACHABLE: &str = "The registry of packages cannot be reached: look at the network and at proxy settings, and build again. \
                           What was built before is still there.";

/// What a tool's words mean that its own advice does not say, or says too long ago.
fn hint_in(output: &str) -> Option<&'static str> {
    let hints = [
        ("target may not be installed", "Run `rustup target add wasm32-unknown-unknown`."),
        ("can't find crate for `std`", "Run `rustup target add wasm32-unknown-unknown`."),
        (
            "linker `cc` not found",
            "Install a C compiler, which Rust needs for macros: `apt-get install gcc`.",
        ),
        ("download of config.json failed", UNREACHABLE),
        ("failed to download", UNREACHABLE),
        ("dial tcp", UNREACHABLE),
        (
            "no matching package named `salve-plugin` found",
            "The SDK is not published where cargo looks; \
            give `salve plugin new --sdk PATH` a checkout of Salve, or write its path into Cargo.toml.",
        ),
    ];
    hints.into_iter().find(|(words, _)| output.contains(words)).map(|(_, hint)| hint)
}

/// Builds the project. Nothing is written outside the project's build folder and the tools' own caches.
///
/// # Errors
/// [`BuildError`] names the step that failed.
pub fn build(project: &Project, progress: &mut dyn Progress) -> Result<Built, BuildError> {
    let bare = match project.language {
        Language::Rust => rust::component(project, progress),
        Language::Go => go::component(project, progress),
        Language::JavaScript => javascript::component(project, progress),
        Language::Python => python::component(project, progress),
    }?;
    progress.step("checks the component as the host does");
    let component = pack::describe(bare, &project.manifest).map_err(BuildError::Pack)?;
    Ok(Built { component })
}
