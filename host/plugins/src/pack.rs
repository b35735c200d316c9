//! Core module and `plugin.toml` in, component out; and what is inside one.
//!
//! ## What always holds
//! - equal input gives equal bytes
//! - what is packed would be admitted: the same checks run here

use crate::{
    admission::{self, Interfaces, Refusal},
    contract,
    manifest::{Manifest, ManifestError, SECTION},
    section::{self, Kind},
};
use salve_model::text::escape;
use serde::Serialize;
use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, StringEncoding};

/// Why no component came out.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The manifest is refused.
    #[error("cannot use the manifest")]
    Manifest(#[source] ManifestError),
    /// The module is none.
    #[error("cannot pack: {problem}")]
    Module {
        /// What it is.
        problem: &'static str,
    },
    /// The module does not fit its world.
    #[error("cannot make a component of the module: {message}")]
    Encode {
        /// From the encoder, escaped.
        message: String,
    },
    /// The component would be refused at load.
    #[error("the component would not be admitted")]
    Refused(#[source] Refusal),
}

impl PackError {
    /// What the author can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest(error) => error.hint(),
            Self::Refused(refusal) => refusal.hint(),
            Self::Encode { message } if message.contains("wasi_snapshot") => {
                Some("Build for wasm32-unknown-unknown: there is no WASI in Salve.".into())
            }
            Self::Encode { message } if message.contains("salve:plugin/") => {
                Some("Name the capabilities that the code uses in `plugin.toml`, and check `role`.".into())
            }
            Self::Module { .. } => {
                Some("Give the .wasm file that the compiler wrote, before any packing.".into())
            }
            Self::Encode { .. } => None,
        }
    }
}

/// Makes a component of a core module that was built with bindings of the contract.
///
/// The world is the role's base and the capabilities that the manifest names, whatever world the module's own
/// bindings were made from; what the module does not use is not imported.
///
/// # Errors
/// [`PackError`]: the manifest, the module, or both together make no plugin.
pub fn pack(core_module: &[u8], manifest_toml: &str) -> Result<Vec<u8>, PackError> {
    let manifest = Manifest::from_toml(manifest_toml).map_err(PackError::Manifest)?;
    let component = encode(core_module, &manifest, None)?;
    describe(component, &manifest)
}

/// As [`pack`] does, without the manifest. `adapter` is a core module that stands in for the imports of another, for
/// instance `("wasi_snapshot_preview1", stub)`: what it answers is all that the guest gets.
///
/// # Errors
/// [`PackError`] if the module does not fit its world.
pub fn encode(
    core_module: &[u8],
    manifest: &Manifest,
    adapter: Option<(&str, &[u8])>,
) -> Result<Vec<u8>, PackError> {
    let problem = match section::kind(core_module) {
        Kind::CoreModule => None,
        Kind::Component => Some("this is a component already"),
        Kind::Other => Some("this is not a WebAssembly module"),
    };
    if let Some(problem) = problem {
        return Err(PackError::Module { problem });
    }
    let mut module = section::without_custom(core_module, |name| name.starts_with("component-type"))
        .map_err(|_| PackError::Module { problem: "the file is cut off" })?;

    let encode = |message: String| PackError::Encode { message: escape(&message, 600) };
    let (resolve, world) = contract::own_world(manifest).map_err(encode)?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| encode(format!("{error:#}")))?;
    let mut encoder = ComponentEncoder::default().validate(true);
    encoder = encoder.module(&module).map_err(|error| encode(format!("{error:#}")))?;
    if let Some((name, adapter)) = adapter {
        encoder = encoder.adapter(name, adapter).map_err(|error| encode(format!("{error:#}")))?;
    }
    encoder.encode().map_err(|error| encode(format!("{error:#}")))
}

/// Puts the manifest into a component that has none, and checks the result as the host does at load.
///
/// # Errors
/// [`PackError`]: the component has a manifest already, or would be refused.
pub fn describe(mut component: Vec<u8>, manifest: &Manifest) -> Result<Vec<u8>, PackError> {
    let json = manifest.to_section().map_err(PackError::Manifest)?;
    section::append_custom(&mut component, SECTION, &json);
    admission::admit(&component, manifest).map_err(PackError::Refused)?;
    Manifest::of_component(&component).map_err(PackError::Manifest)?;
    Ok(component)
}

/// What is inside a component, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Its manifest, if it has a valid one.
    pub manifest: Option<Manifest>,
    /// Why it would not be loaded, with a way out; none if it would.
    pub objection: Option<String>,
    /// What it imports and exports.
    pub interfaces: Interfaces,
    /// SHA-256 of the file, lower-case hex.
    pub digest: String,
    /// Size of the file.
    pub size_bytes: usize,
    /// Size of its manifest section.
    pub manifest_bytes: usize,
}

/// Looks into a component without running or compiling it.
///
/// # Errors
/// [`Refusal`] if this is no component at all; other objections stand in the [`Inspection`].
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Refusal> {
    let interfaces = admission::interfaces(bytes)?;
    let with_hint = |message: String, hint: Option<String>| match hint {
        Some(hint) => format!("{message}. {hint}"),
        None => message,
    };
    let (manifest, objection) = match Manifest::of_component(bytes) {
        Err(error) => (None, Some(with_hint(error.to_string(), error.hint()))),
        Ok(manifest) => {
            let refusal = admission::admit(bytes, &manifest).err();
            (Some(manifest), refusal.map(|refusal| with_hint(refusal.to_string(), refusal.hint())))
        }
    };
    let manifest_bytes = section::sections(bytes)
        .flatten()
        .find_map(|part| part.custom().filter(|(name, _)| *name == SECTION).map(|(_, data)| data.len()))
        .unwrap_or_default();
    Ok(Inspection {
        manifest,
        objection,
        interfaces,
        digest: digest(bytes),
        size_bytes: bytes.len(),
        manifest_bytes,
    })
}

/// SHA-256, lower-case hex.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
