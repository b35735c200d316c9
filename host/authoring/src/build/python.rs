//! Python.

use super::BuildError;
use crate::{Progress, Project};

/// The component, without its manifest.
pub(super) fn component(_: &Project, _: &mut dyn Progress) -> Result<Vec<u8>, BuildError> {
    Err(BuildError::ToolMissing {
        tool: "a builder".into(),
        language: "Python",
        install: "This version of Salve cannot build Python yet.".into(),
    })
}
