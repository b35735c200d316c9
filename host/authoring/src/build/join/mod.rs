//! The core modules of a component, joined into one.
//!
//! The tools of JavaScript and Python link dynamically: what comes out has 11 and 110 core instances, and each call of a plugin makes
//! them all anew and links them. They are always the same ones, linked in the same way, so it is done here, once (ADR 14).
//!
//! ## What always holds
//! - the component does the same as before: same code, same order of what is put into memory and tables
//! - what the tools' stand-ins for WASI answered with a trap traps
//! - exports that tools make for themselves (`init`, `exports`) are gone; the world is the plugin's own
//! - a component with anything that is not understood is left as it was, and what it is, is said

mod link;
mod module;
#[cfg(test)]
mod tests;
mod wiring;
mod write;

use super::{native, segments};
use crate::Progress;
use link::Link;
use salve_model::text::chain;
use salve_plugins::{
    Manifest,
    pack::{self, PackError},
};
use std::rc::Rc;
use wasmparser::{BinaryReaderError, Validator};
use wiring::Wiring;

/// Why a component stays as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    /// It has something that is not understood.
    #[error("it has {0}")]
    Unknown(&'static str),
    /// Its parts do not fit together.
    #[error("its parts do not fit together")]
    Damaged,
    /// It is not WebAssembly.
    #[error("it cannot be read")]
    Parse(#[from] BinaryReaderError),
    /// What came out is not what the world needs.
    #[error("the joined module does not fit its world")]
    Pack(#[source] PackError),
}

/// The component with its core modules joined; none if they are left as they are, which is told.
pub(super) fn component(bytes: &[u8], manifest: &Manifest, progress: &mut dyn Progress) -> Option<Vec<u8>> {
    progress.step("join its core modules");
    match joined(bytes, manifest) {
        Ok(joined) => Some(joined),
        Err(obstacle) => {
            progress.line(&format!("left as they are, so calls take longer: {}", chain(&obstacle)));
            None
        }
    }
}

fn joined(bytes: &[u8], manifest: &Manifest) -> Result<Vec<u8>, Obstacle> {
    pack::encode(&core_module(bytes)?, manifest, None).map_err(Obstacle::Pack)
}

/// The one core module that a component's core instances come to.
fn core_module(bytes: &[u8]) -> Result<Vec<u8>, Obstacle> {
    Validator::new().validate_all(bytes)?;
    let wiring = Wiring::of(bytes)?;
    if wiring.exports.is_empty() {
        return Err(Obstacle::Unknown("nothing that it exports"));
    }
    let native = native::module()?;
    let mut link = Link::of(&wiring, &native)?;
    let exports: Vec<_> = wiring.exports.iter().map(|(_, _, lifted)| Rc::clone(lifted)).collect();
    link.trace(&exports)?;
    let module = write::module(&wiring, &mut link)?;
    Ok(segments::merge(&module)?.unwrap_or(module))
}

/// A number as a place in a list.
fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The thing of a number.
fn at<T: Clone>(list: &[T], number: u32) -> Result<T, Obstacle> {
    list.get(index(number)).cloned().ok_or(Obstacle::Damaged)
}
