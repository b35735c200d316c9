//! `salve:plugin@0.1.0`.

use crate::{
    bindings::{
        exports::salve::plugin::{consult, detect},
        salve::plugin::{clock, config, http, log, notify, process, telemetry, types},
    },
    guest::GuestState,
    host::{ActionExports, Exports},
    manifest::{Manifest, Role},
};
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

/// Links what the role has and the manifest names. Nothing else is there, so nothing else can be called.
pub(crate) fn link(linker: &mut Linker<GuestState>, manifest: &Manifest) -> wasmtime::Result<()> {
    type Own = HasSelf<GuestState>;
    types::add_to_linker::<_, Own>(linker, |state| state)?;
    log::add_to_linker::<_, Own>(linker, |state| state)?;
    if manifest.role == Role::Detector {
        return Ok(());
    }
    clock::add_to_linker::<_, Own>(linker, |state| state)?;
    telemetry::add_to_linker::<_, Own>(linker, |state| state)?;
    if manifest.role == Role::Agent {
        return Ok(());
    }
    for request in &manifest.capabilities {
        match request.capability.as_str() {
            "config" => config::add_to_linker::<_, Own>(linker, |state| state)?,
            "http" => http::add_to_linker::<_, Own>(linker, |state| state)?,
            "notify" => notify::add_to_linker::<_, Own>(linker, |state| state)?,
            "process" => process::add_to_linker::<_, Own>(linker, |state| state)?,
            // The manifest was checked against the same list; a capability without a line here is simply not linked.
            _ => {}
        }
    }
    Ok(())
}

/// Where the role's functions are.
pub(crate) fn exports(role: Role, pre: &InstancePre<GuestState>) -> wasmtime::Result<Exports> {
    match role {
        Role::Detector => detect::GuestIndices::new(pre).map(Exports::Detector),
        Role::Agent => consult::GuestIndices::new(pre).map(Exports::Agent),
        Role::Action => action_exports(pre.component()).map(Exports::Action),
    }
}

fn action_exports(component: &Component) -> wasmtime::Result<ActionExports> {
    const INTERFACE: &str = "salve:plugin/act@0.1.0";
    let missing = |name: &str| wasmtime::Error::msg(format!("there is no export `{name}`"));
    let interface = component.get_export_index(None, INTERFACE).ok_or_else(|| missing(INTERFACE))?;
    let function =
        |name: &str| component.get_export_index(Some(&interface), name).ok_or_else(|| missing(name));
    Ok(ActionExports { plan: function("plan")?, execute: function("execute")?, undo: function("undo")? })
}
