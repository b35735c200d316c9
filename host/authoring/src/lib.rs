//! What plugin authors use: projects, from project to component, trial calls, test cases, measurements.
//!
//! ## What always holds
//! - a build writes the plugin's own world from its manifest, so that a component imports what it asked for and no more
//! - a tool that is missing is named, with what to install; nothing half made is left behind
//! - a trial changes nothing real unless it is told to
//!
//! Not here: loading, limits and calls (`salve-plugins`); the command line (`salve`).

pub mod bench;
mod build;
pub mod cases;
pub mod check;
#[cfg(test)]
mod documented;
pub mod expectation;
mod files;
mod fresh;
mod progress;
mod project;
mod scaffold;
mod templates;
pub mod trial;
mod words;

pub use build::{BuildError, Built, StartError, build};
pub use files::{TemporaryFolder, compiled_folder, write_whole};
pub use progress::{Progress, Silent};
pub use project::{Language, Project, ProjectError};
pub use scaffold::{Order, Scaffold, ScaffoldError, Sdk, checkout};
pub use words::size;
