//! The one place where Salve trusts bytes to be native code.
//!
//! `wasmtime` can make a component ready from a file that it wrote earlier. It cannot check that the file holds what
//! it wrote: whoever writes the file decides what runs in this process. So the caller, `cache`, must have shown that
//! - only this user can write the folder, and
//! - the file's SHA-256 is the one that was noted when this host compiled it, for this engine; or that this was so since the last
//!   boot, and nothing has touched the file.

use std::path::Path;
use wasmtime::{Engine, component::Component};

/// Maps a compiled component into memory.
///
/// # Errors
/// wasmtime's, if the file is of another engine or configuration, or cannot be mapped.
#[expect(unsafe_code, reason = "wasmtime has no safe way to load what it compiled; see the rules above")]
pub(crate) fn map(engine: &Engine, artefact: &crate::cache::Checked<'_>) -> wasmtime::Result<Component> {
    let path: &Path = artefact.path();
    // SAFETY: `Checked` is made only by `cache::Cache::check`, which has verified owner and mode of the folder and the
    // digest of the file. Files in the folder are replaced by rename and never written in place, so the mapping does
    // not change under us.
    unsafe { Component::deserialize_file(engine, path) }
}
