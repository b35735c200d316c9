//! What plugin authors use: projects, and from project to component.
//!
//! ## What always holds
//! - a build writes the plugin's own world from its manifest, so that a component imports what it asked for and no more
//! - a tool that is missing is named, with what to install; nothing half made is left behind
//!
//! Not here: loading, limits and calls (`salve-plugins`); the command line (`salve`).

mod build;
mod progress;
mod project;

pub use build::{BuildError, Built, build};
pub use progress::{Progress, Silent};
pub use project::{Language, Project, ProjectError};
