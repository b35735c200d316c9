//! Whether a component is what its manifest says: it imports what its role and manifest allow, exports its role's
//! interface, and has the contract's types.
//!
//! All of it is read from the component's type; nothing runs, nothing is compiled.

use crate::{
    contract::{self, CAPABILITIES, PACKAGE, SERVED},
    manifest::{Manifest, Role},
    section::{self, Kind},
};
use salve_model::text::escape;
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldId, WorldItem, WorldKey};

/// Exports besides the role's interface that language tool chains add and that nobody calls.
const HARMLESS_EXPORTS: &[&str] = &["init", "exports"];

/// Why a component is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A core module.
    #[error("this is a core WebAssembly module, not a component")]
    CoreModule,
    /// Neither.
    #[error("this is not a WebAssembly component")]
    NotWasm,
    /// The file is cut off or damaged, or uses what the tools do not know.
    #[error("cannot read the component's type: {message}")]
    Malformed {
        /// From the parser, escaped.
        message: String,
    },
    /// It wants WASI.
    #[error("component imports `{import}`: there is no WASI in Salve")]
    Wasi {
        /// The interface.
        import: String,
    },
    /// Its interfaces are of a version that is not served.
    #[error("component imports or exports `{interface}`; this host serves {PACKAGE} {}", SERVED.join(", "))]
    Contract {
        /// The interface.
        interface: String,
    },
    /// It imports a capability that its manifest does not name.
    #[error("component imports the capability `{capability}`, which its manifest does not name")]
    NotInManifest {
        /// The capability.
        capability: String,
    },
    /// It imports what its role does not have.
    #[error("component imports `{import}`, which a plugin of role {role} does not have")]
    Import {
        /// The interface or function.
        import: String,
        /// Of the manifest.
        role: Role,
    },
    /// It lacks its role's interface.
    #[error("component does not export `{interface}`, which a plugin of role {role} must")]
    ExportMissing {
        /// The interface.
        interface: String,
        /// Of the manifest.
        role: Role,
    },
    /// It exports something else.
    #[error("component exports `{export}`, which a plugin of role {role} does not have")]
    Export {
        /// The interface or function.
        export: String,
        /// Of the manifest.
        role: Role,
    },
    /// Names are right, types are not.
    #[error("component does not have the types of its world: {message}")]
    Types {
        /// From the validator, escaped.
        message: String,
    },
}

impl Refusal {
    /// What the author or operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::CoreModule => {
                "Run `salve plugin pack MODULE --manifest plugin.toml` to make a component of it."
            }
            Self::Wasi { .. } => {
                "Build it for wasm32-unknown-unknown (Rust), or stub WASI out (`--stub-wasi` and the like)."
            }
            Self::Contract { .. } => "Rebuild it against a served version, or update Salve.",
            Self::NotInManifest { .. } => {
                "Name the capability and its verbs in `plugin.toml`, and pack it again."
            }
            Self::ExportMissing { .. } | Self::Export { .. } => "Check `role` in `plugin.toml`.",
            Self::Malformed { .. } | Self::NotWasm => "Copy the file again; it may have been cut off.",
            Self::Types { .. } => "Build it with the SDK or from the WIT files of this contract version.",
            Self::Import { .. } => {
                "Check `role` in `plugin.toml`: each role has a world of its own, and only an action reaches outside. What else is \
                 imported, leave out."
            }
        };
        Some(hint.into())
    }
}

/// Names of what a component imports and exports, as `package/interface@version` or plain.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Interfaces {
    /// In the order of the component.
    pub imports: Vec<String>,
    /// In the order of the component.
    pub exports: Vec<String>,
}

/// Refuses what is no component by its first bytes.
pub(crate) fn check_kind(bytes: &[u8]) -> Result<(), Refusal> {
    match section::kind(bytes) {
        Kind::Component => Ok(()),
        Kind::CoreModule => Err(Refusal::CoreModule),
        Kind::Other => Err(Refusal::NotWasm),
    }
}

/// The interfaces of a component, whatever they are.
///
/// # Errors
/// [`Refusal`] if this is no component.
pub(crate) fn interfaces(bytes: &[u8]) -> Result<Interfaces, Refusal> {
    check_kind(bytes)?;
    let (resolve, world) = decode(bytes)?;
    let Some(world) = resolve.worlds.get(world) else {
        return Err(Refusal::Malformed { message: "no world".into() });
    };
    let names = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
        items.map(|(key, _)| resolve.name_world_key(key)).collect()
    };
    Ok(Interfaces { imports: names(&mut world.imports.iter()), exports: names(&mut world.exports.iter()) })
}

/// The component's type as a WIT world.
fn decode(bytes: &[u8]) -> Result<(Resolve, WorldId), Refusal> {
    section::check_lengths(bytes).map_err(|cut| Refusal::Malformed { message: cut.to_string() })?;
    match wit_component::decode(bytes) {
        Ok(DecodedWasm::Component(resolve, world)) => Ok((resolve, world)),
        Ok(DecodedWasm::WitPackage(..)) => Err(Refusal::NotWasm),
        Err(error) => Err(Refusal::Malformed { message: escape(&format!("{error:#}"), 300) }),
    }
}

/// Admits a component, or says why not.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub(crate) fn admit(bytes: &[u8], manifest: &Manifest) -> Result<Interfaces, Refusal> {
    let interfaces = interfaces(bytes)?;
    for import in &interfaces.imports {
        admit_import(import, manifest)?;
    }
    let role = manifest.role;
    let wanted = format!("{PACKAGE}/{}@{}", role.export(), manifest.contract);
    for export in &interfaces.exports {
        if let Some((_, version)) = contract_interface(export)
            && version != manifest.contract
        {
            return Err(Refusal::Contract { interface: escape(export, 100) });
        }
        let types = format!("{PACKAGE}/types@{}", manifest.contract);
        if *export != wanted && *export != types && !HARMLESS_EXPORTS.contains(&export.as_str()) {
            return Err(Refusal::Export { export: escape(export, 100), role });
        }
    }
    if !interfaces.exports.contains(&wanted) {
        return Err(Refusal::ExportMissing { interface: wanted, role });
    }

    let types = |message: String| Refusal::Types { message: escape(&message, 300) };
    let (resolve, world) = contract::own_world(manifest).map_err(types)?;
    wit_component::targets(&resolve, world, bytes).map_err(|error| types(format!("{error:#}")))?;
    Ok(interfaces)
}

/// One import: of the contract, of a served version, of the role or named in the manifest.
fn admit_import(import: &str, manifest: &Manifest) -> Result<(), Refusal> {
    let shown = || escape(import, 100);
    if import.starts_with("wasi:") || import.starts_with("wasi_snapshot") {
        return Err(Refusal::Wasi { import: shown() });
    }
    let Some((name, version)) = contract_interface(import) else {
        return Err(Refusal::Import { import: shown(), role: manifest.role });
    };
    if version != manifest.contract {
        return Err(Refusal::Contract { interface: shown() });
    }
    if manifest.role.base_imports().contains(&name) {
        return Ok(());
    }
    let is_capability = CAPABILITIES.iter().any(|capability| capability.name == name);
    if !is_capability || manifest.role != Role::Action {
        return Err(Refusal::Import { import: shown(), role: manifest.role });
    }
    if manifest.capabilities.iter().any(|request| request.capability == name) {
        Ok(())
    } else {
        Err(Refusal::NotInManifest { capability: name.into() })
    }
}

/// Interface and version, if it is one of the contract's package.
fn contract_interface(name: &str) -> Option<(&str, &str)> {
    let interface = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(interface.split_once('@').unwrap_or((interface, "")))
}
