//! The contract with plugins as text: which versions are served, which interfaces a role has, and the world that a
//! manifest describes.

use crate::{
    adapters::v0_1_0,
    guest::GuestState,
    host::Exports,
    manifest::{Manifest, Role},
};
use wasmtime::component::{InstancePre, Linker};
use wit_parser::{Resolve, WorldId};

/// Versions of `salve:plugin` that this host serves.
pub const SERVED: &[&str] = &[ContractVersion::V0_1_0.as_str()];

/// A served version of the contract. Each has one adapter, which knows its interfaces; what a plugin may do is checked below
/// all of them, in sessions and brokers, which know of no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContractVersion {
    /// The first.
    V0_1_0,
}

impl ContractVersion {
    /// All of them, oldest first.
    pub(crate) const ALL: &'static [Self] = &[Self::V0_1_0];

    /// As manifests and interfaces name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
        }
    }

    /// The version of that name, if it is served.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|version| version.as_str() == name)
    }

    /// Its WIT files, in the order in which they are read.
    pub(crate) fn wit(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::V0_1_0 => WIT,
        }
    }

    /// Links a plugin to its role's interfaces, and to the capabilities that its manifest names.
    pub(crate) fn link(self, linker: &mut Linker<GuestState>, manifest: &Manifest) -> wasmtime::Result<()> {
        match self {
            Self::V0_1_0 => v0_1_0::link(linker, manifest),
        }
    }

    /// Finds the functions of a role in a component.
    pub(crate) fn exports(self, role: Role, pre: &InstancePre<GuestState>) -> wasmtime::Result<Exports> {
        match self {
            Self::V0_1_0 => v0_1_0::exports(role, pre),
        }
    }
}

/// The WIT files of 0.1.0.
const WIT: &[(&str, &str)] = &[
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("imports.wit", include_str!("../../../wit/imports.wit")),
    ("exports.wit", include_str!("../../../wit/exports.wit")),
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
];

/// The package that plugins are written against.
pub(crate) const PACKAGE: &str = "salve:plugin";

/// Whether an import is the interface through which telemetry is read, of any version.
#[must_use]
pub fn is_telemetry(import: &str) -> bool {
    let interface = import.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix("/telemetry"));
    interface.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

/// A capability interface and its functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// The interface, for instance `config`.
    pub name: &'static str,
    /// Functions that change nothing.
    pub reads: &'static [&'static str],
    /// Functions with an effect.
    pub writes: &'static [&'static str],
}

impl Capability {
    /// Reads and writes.
    pub fn verbs(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().chain(self.writes).copied()
    }
}

/// All capabilities of this contract, by name.
pub const CAPABILITIES: &[Capability] = &[
    Capability { name: "config", reads: &["get", "history", "keys"], writes: &["set"] },
    Capability { name: "http", reads: &["get"], writes: &["send"] },
    Capability { name: "notify", reads: &[], writes: &["send"] },
    Capability { name: "process", reads: &["status"], writes: &["start", "stop", "restart"] },
];

impl Role {
    /// Interfaces that every plugin of this role may import, without package and version.
    pub(crate) fn base_imports(self) -> &'static [&'static str] {
        match self {
            Self::Detector => &["types", "log"],
            Self::Agent | Self::Action => &["types", "log", "clock", "telemetry"],
        }
    }

    /// The one interface that a plugin of this role exports.
    pub(crate) fn export(self) -> &'static str {
        match self {
            Self::Detector => "detect",
            Self::Agent => "consult",
            Self::Action => "act",
        }
    }

    /// The base world in the WIT.
    fn base_world(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Agent => "agent",
            Self::Action => "action-base",
        }
    }
}

/// The name of the world that [`wit_files`] describes.
pub const OWN_WORLD: &str = "plugin-world";

/// The plugin's own world as WIT files (name and text) for the tools of any language: the contract, and the world
/// [`OWN_WORLD`] of the role's base and the capability interfaces that the manifest names, so that a component imports
/// what it asked for and no more.
#[must_use]
pub fn wit_files(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let mut world = format!("package {PACKAGE}@{};\nworld {OWN_WORLD} {{\n", manifest.contract);
    world.push_str(&format!("    include {};\n", manifest.role.base_world()));
    for request in &manifest.capabilities {
        world.push_str(&format!("    import {};\n", request.capability));
    }
    world.push_str("}\n");
    // A manifest of another version is refused when it is read.
    let version = ContractVersion::named(&manifest.contract).unwrap_or(ContractVersion::V0_1_0);
    let contract = version.wit().iter().map(|(name, text)| (*name, (*text).to_owned()));
    contract.chain([("own.wit", world)]).collect()
}

/// The same, parsed.
pub(crate) fn own_world(manifest: &Manifest) -> anyhow_free::Result<(Resolve, WorldId)> {
    let mut sources = wit_parser::SourceMap::default();
    for (name, text) in wit_files(manifest) {
        sources.push_str(name, text);
    }
    let group = sources.parse().map_err(|(_, error)| error.to_string())?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|error| error.to_string())?;
    let world = resolve.select_world(&[package], Some(OWN_WORLD)).map_err(|error| error.to_string())?;
    Ok((resolve, world))
}

/// Errors of the WIT tools as text, so that their error type is not part of our own.
pub(crate) mod anyhow_free {
    /// The message is the error.
    pub(crate) type Result<T> = std::result::Result<T, String>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_parser::WorldItem;

    /// Guarantees: each served version has one name, and the name leads back to it.
    #[test]
    fn versions_have_one_name() {
        assert_eq!(SERVED.len(), ContractVersion::ALL.len());
        for (version, name) in ContractVersion::ALL.iter().zip(SERVED) {
            assert_eq!(ContractVersion::named(name), Some(*version));
        }
        assert_eq!(ContractVersion::named("0.2.0"), None);
    }

    /// Guarantees: the tables of roles and capabilities say what the WIT says, so that neither can change alone.
    #[test]
    fn tables_agree_with_the_wit() {
        let manifest = crate::manifest::tests::action(&["config", "http", "notify", "process"]);
        let (resolve, world) = own_world(&manifest).unwrap();
        let world = &resolve.worlds[world];
        for capability in CAPABILITIES {
            let interface = resolve
                .interfaces
                .iter()
                .map(|(_, interface)| interface)
                .find(|interface| interface.name.as_deref() == Some(capability.name))
                .unwrap();
            let mut functions: Vec<_> = interface.functions.keys().map(String::as_str).collect();
            let mut verbs: Vec<_> = capability.verbs().collect();
            functions.sort_unstable();
            verbs.sort_unstable();
            assert_eq!(functions, verbs, "{}", capability.name);
        }
        let imports: Vec<_> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
        let expected = Role::Action.base_imports().iter().chain(&["config", "http", "notify", "process"]);
        for name in expected {
            assert!(imports.contains(&format!("{PACKAGE}/{name}@{}", SERVED[0])), "{name} in {imports:?}");
        }
        assert!(world.exports.values().all(|item| matches!(item, WorldItem::Interface { .. })));
    }
}
