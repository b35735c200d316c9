//! From a file to a plugin, and all that is not one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{Bench, bench, bench_with, component, core_module, manifest};
use salve_plugins::{HostConfig, LoadError, ManifestError, PluginError, PluginHost, Refusal, pack};
use std::{
    error::Error,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Appends a custom section.
fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    fn length(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }
    let content = [length(name.len()), name.as_bytes().to_vec(), data.to_vec()].concat();
    component.push(0);
    component.extend(length(content.len()));
    component.extend(content);
}

/// A packed component with another manifest in place of its own.
fn with_manifest(guest: &str, text: &str) -> Vec<u8> {
    let mut bytes = component(guest);
    // The manifest is the last section: id, length, name with its length, data.
    let data = pack::inspect(&bytes).unwrap().manifest_bytes;
    let content = 1 + "salve:manifest".len() + data;
    let length_bytes = if content < 128 { 1 } else { 2 };
    bytes.truncate(bytes.len() - content - length_bytes - 1);
    let json: serde_json::Value = toml::from_str(text).unwrap();
    append_section(&mut bytes, "salve:manifest", json.to_string().as_bytes());
    bytes
}

/// A component in text with the manifest of an agent.
fn component_text(text: &str) -> Vec<u8> {
    let mut bytes = wat::parse_str(text).unwrap();
    let json: serde_json::Value = toml::from_str(&manifest("agent-text", "")).unwrap();
    append_section(&mut bytes, "salve:manifest", json.to_string().as_bytes());
    bytes
}

fn refusal(bench: &Bench, bytes: &[u8]) -> LoadError {
    bench.host.load_bytes(Path::new("guest.wasm"), bytes).unwrap_err()
}

/// The message with its causes, and the hint.
fn story(error: &LoadError) -> String {
    let mut story = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        story.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    match error.hint() {
        Some(hint) => format!("{story}\n  hint: {hint}"),
        None => story,
    }
}

/// The guest `detector-threshold`, built from the same contract with another version number, as a tool chain of that version
/// would; `manifest` becomes its manifest section.
fn built_for(contract: &str, manifest: &serde_json::Value) -> Vec<u8> {
    use wit_component::{ComponentEncoder, StringEncoding};
    let own = salve_plugins::Manifest::from_toml(&common::manifest("detector-threshold", "")).unwrap();
    let mut sources = wit_parser::SourceMap::default();
    for (name, text) in salve_plugins::wit_files(&own) {
        sources.push_str(name, text.replace("@0.1.0", &format!("@{contract}")));
    }
    let mut resolve = wit_parser::Resolve::default();
    let group = sources.parse().map_err(|(_, error)| error).unwrap();
    let package = resolve.push_group(group).unwrap();
    let world = resolve.select_world(&[package], Some(salve_plugins::OWN_WORLD)).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/detector-threshold.wat");
    let text = std::fs::read_to_string(file).unwrap().replace("@0.1.0", &format!("@{contract}"));
    let mut module = wat::parse_str(&text).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut component = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    append_section(&mut component, "salve:manifest", manifest.to_string().as_bytes());
    component
}

/// Guarantees: a component that was really built for another version of the contract is refused with a message that names the
/// versions served, be its manifest honest, ahead of this host's keys, or a lie; built for a served one it loads.
#[test]
fn another_contract_version() {
    let bench = bench();
    let manifest = |contract: &str| serde_json::json!({ "name": "probe", "version": "1.0.0", "role": "detector", "summary": "x", "contract": contract });
    let error = |contract: &str, manifest: &serde_json::Value| {
        let component = built_for(contract, manifest);
        let error = bench.host.load_bytes(Path::new("probe.wasm"), &component).unwrap_err();
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}\n{}", error.hint().unwrap_or_default())
    };
    let honest = error("0.2.0", &manifest("0.2.0"));
    assert!(honest.contains("built for contract 0.2.0; this host serves 0.1.0"), "{honest}");
    assert!(honest.contains("Rebuild it against salve:plugin@0.1.0, or update Salve"), "{honest}");
    let mut newer = manifest("0.2.0");
    newer["streams"] = true.into();
    assert!(error("0.2.0", &newer).contains("built for contract 0.2.0"));
    let lie = error("0.2.0", &manifest("0.1.0"));
    assert!(lie.contains("this host serves salve:plugin 0.1.0"), "{lie}");
    let component = built_for("0.1.0", &manifest("0.1.0"));
    bench.host.load_bytes(Path::new("probe.wasm"), &component).unwrap();
}

/// Guarantees: whatever is no plugin is refused before anything of it is compiled or run, and the operator reads what is
/// wrong and what to do.
#[test]
fn refusals_say_what_is_wrong_and_what_to_do() {
    let bench = bench_with(|config| config.limits.host_calls = Some(10));
    let lies = [
        core_module("action-echo"),
        b"#!/bin/sh\nrm -rf /\n".to_vec(),
        Vec::new(),
        component("action-echo")[..400].to_vec(),
        wat::parse_str("(component)").unwrap(),
        component_text("(component)"),
        component_text(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#),
        component_text(r#"(component (import "evil:tools/shell@1.0.0" (instance)))"#),
        component_text(r#"(component (import "run" (func)))"#),
        component_text(r#"(component (import "salve:plugin/log@0.2.0" (instance)))"#),
        component_text(r#"(component (instance $i) (export "evil:tools/shell@1.0.0" (instance $i)))"#),
        component_text(r#"(component (instance $i) (export "salve:plugin/consult@0.1.0" (instance $i)))"#),
        // Imports `config`, which its manifest does not name.
        with_manifest("action-echo", &manifest("action-echo", "")),
        // Imports `config` and calls itself an agent.
        with_manifest("action-echo", &manifest("agent-echo", "")),
        // Imports `clock` and calls itself a detector.
        with_manifest("action-sleep", &manifest("detector-sleep", "")),
        // Exports `act` and calls itself an agent.
        with_manifest("action-sleep", &manifest("agent-sleep", "")),
        with_manifest("action-sleep", &manifest("action-sleep", "contract = '9.0.0'")),
        with_manifest("action-sleep", &manifest("action-sleep", "limits.host_calls = 11")),
    ];
    let stories: Vec<_> = lies.iter().map(|bytes| story(&refusal(&bench, bytes))).collect();
    insta::assert_snapshot!(stories.join("\n"), @r#"
    plugin `guest.wasm` is not admitted: this is a core WebAssembly module, not a component
      hint: Run `salve plugin pack MODULE --manifest plugin.toml` to make a component of it.
    plugin `guest.wasm` is not admitted: this is not a WebAssembly component
      hint: Copy the file again; it may have been cut off.
    plugin `guest.wasm` is not admitted: this is not a WebAssembly component
      hint: Copy the file again; it may have been cut off.
    plugin `guest.wasm` has no valid manifest: cannot find the manifest in a file that is cut off: section at byte 377 does not fit into the file
    plugin `guest.wasm` has no valid manifest: component has no manifest section `salve:manifest`
      hint: Make the component with `salve plugin pack`, which adds the manifest.
    plugin `guest.wasm` is not admitted: component does not export `salve:plugin/consult@0.1.0`, which a plugin of role agent must
      hint: Check `role` in `plugin.toml`.
    plugin `guest.wasm` is not admitted: component imports `wasi:cli/environment@0.2.0`: there is no WASI in Salve
      hint: Build it for wasm32-unknown-unknown (Rust), or stub WASI out (`--stub-wasi` and the like).
    plugin `guest.wasm` is not admitted: component imports `evil:tools/shell@1.0.0`, which a plugin of role agent does not have
      hint: Check `role` in `plugin.toml`: each role has a world of its own, and only an action reaches outside. What else is imported, leave out.
    plugin `guest.wasm` is not admitted: component imports `run`, which a plugin of role agent does not have
      hint: Check `role` in `plugin.toml`: each role has a world of its own, and only an action reaches outside. What else is imported, leave out.
    plugin `guest.wasm` is not admitted: component imports or exports `salve:plugin/log@0.2.0`; this host serves salve:plugin 0.1.0
      hint: Rebuild it against a served version, or update Salve.
    plugin `guest.wasm` is not admitted: component exports `evil:tools/shell@1.0.0`, which a plugin of role agent does not have
      hint: Check `role` in `plugin.toml`.
    plugin `guest.wasm` is not admitted: component does not have the types of its world: failed to validate encoded bytes: type mismatch for import `plugin-world`\ntype mismatch for export `salve:plugin/consult@0.1.0`\nmissing expected export `attributes` (at offset 0x8f7)
      hint: Build it with the SDK or from the WIT files of this contract version.
    plugin `guest.wasm` is not admitted: component imports the capability `config`, which its manifest does not name
      hint: Name the capability and its verbs in `plugin.toml`, and pack it again.
    plugin `guest.wasm` is not admitted: component imports `salve:plugin/config@0.1.0`, which a plugin of role agent does not have
      hint: Check `role` in `plugin.toml`: each role has a world of its own, and only an action reaches outside. What else is imported, leave out.
    plugin `guest.wasm` is not admitted: component imports `salve:plugin/clock@0.1.0`, which a plugin of role detector does not have
      hint: Check `role` in `plugin.toml`: each role has a world of its own, and only an action reaches outside. What else is imported, leave out.
    plugin `guest.wasm` is not admitted: component exports `salve:plugin/act@0.1.0`, which a plugin of role agent does not have
      hint: Check `role` in `plugin.toml`.
    plugin `guest.wasm` has no valid manifest: plugin `action-sleep` is built for contract 9.0.0; this host serves 0.1.0
      hint: Rebuild it against salve:plugin@0.1.0, or update Salve.
    plugin `action-sleep` asks for host_calls = 11, its limit is 10
      hint: Allow it in salve.toml:
    [plugins.limits_of.action-sleep]
    host_calls = 11
    "#);
    assert_eq!(fs::read_dir(bench.folder.path().join("cache")).unwrap().count(), 0);
}

/// Guarantees: a file that is cut off anywhere is refused, never half loaded.
#[test]
fn truncated_files_are_refused() {
    let bench = bench();
    let whole = component("detector-loop");
    for length in (0..whole.len()).step_by(7) {
        bench.host.load_bytes(Path::new("cut"), &whole[..length]).unwrap_err();
    }
}

/// Guarantees: a manifest cannot be said twice, nor be too large to read.
#[test]
fn manifests_are_read_once_and_bounded() {
    let bench = bench();
    let mut twice = component("action-sleep");
    append_section(&mut twice, "salve:manifest", b"{}");
    assert!(matches!(refusal(&bench, &twice), LoadError::Manifest { source: ManifestError::Repeated, .. }));
    let mut huge = wat::parse_str("(component)").unwrap();
    append_section(&mut huge, "salve:manifest", &vec![b' '; 100 << 20]);
    assert!(matches!(
        refusal(&bench, &huge),
        LoadError::Manifest { source: ManifestError::TooLarge { .. }, .. }
    ));
}

/// Guarantees: only regular files up to the limit are read; a pipe that nobody writes to does not hold up the host.
#[test]
fn only_bounded_regular_files_are_read() {
    let bench = bench_with(|config| config.component_bytes_max = 1000);
    let load = |path: &Path| bench.host.load(path).unwrap_err();
    let folder = bench.folder.path();
    assert!(matches!(load(folder), LoadError::Read { .. }));
    assert!(matches!(load(&folder.join("missing")), LoadError::Read { .. }));
    let pipe = folder.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    assert!(matches!(load(&pipe), LoadError::Read { .. }));
    let large = folder.join("large");
    fs::write(&large, vec![0; 1001]).unwrap();
    assert!(matches!(load(&large), LoadError::TooLarge { limit_bytes: 1000, .. }));
}

/// Artefacts in a bench's cache.
fn artefacts(bench: &Bench) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.folder.path().join("cache")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "cwasm").collect()
}

/// Guarantees: the second load takes what the first compiled; an artefact that was changed, or whose note is missing, is
/// never loaded but compiled again.
#[test]
fn compiled_plugins_are_kept_and_checked() {
    let bench = bench();
    assert!(!bench.load("detector-loop").stats().from_cache);
    assert!(bench.load("detector-loop").stats().from_cache);
    let [artefact] = artefacts(&bench).try_into().unwrap();
    assert_eq!(fs::metadata(&artefact).unwrap().permissions().mode() & 0o777, 0o600);

    let intact = fs::read(&artefact).unwrap();
    let mut changed = intact.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::remove_file(&artefact).unwrap();
    fs::write(&artefact, &changed).unwrap();
    assert!(!bench.load("detector-loop").stats().from_cache);
    assert_eq!(fs::read(&artefact).unwrap(), intact);
    assert!(bench.load("detector-loop").stats().from_cache);

    fs::remove_file(artefact.with_extension("sha256")).unwrap();
    assert!(!bench.load("detector-loop").stats().from_cache);
    assert!(bench.load("detector-loop").stats().from_cache);
}

/// Guarantees: old artefacts make room for new ones.
#[test]
fn cache_is_bounded() {
    let bench = bench_with(|config| config.cache_bytes_max = 1);
    bench.load("detector-loop");
    bench.load("detector-recursion");
    assert_eq!(artefacts(&bench).len(), 1);
}

/// Guarantees: native code is never taken from a folder where others can write.
#[test]
fn open_cache_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = PluginHost::new(HostConfig::new(folder.path())).unwrap_err();
    assert!(matches!(error, PluginError::Cache(_)), "{error}");
}

/// Guarantees: packing gives the same bytes each time, and what comes out is what was asked for.
#[test]
fn packing_is_deterministic() {
    let packed = component("action-echo");
    assert_eq!(packed, component("action-echo"));
    let inspection = pack::inspect(&packed).unwrap();
    assert_eq!(inspection.objection, None);
    assert_eq!(inspection.manifest.unwrap().name.0, "action-echo");
    insta::assert_snapshot!(
        format!("{}\n{}", inspection.interfaces.imports.join("\n"), inspection.interfaces.exports.join("\n")),
        @r#"
    salve:plugin/types@0.1.0
    salve:plugin/config@0.1.0
    salve:plugin/log@0.1.0
    salve:plugin/act@0.1.0
    "#
    );
    assert!(matches!(pack::inspect(&core_module("action-echo")), Err(Refusal::CoreModule)));
}

/// Guarantees: packing says why it cannot.
#[test]
fn packing_says_why_not() {
    let text = manifest("action-echo", "");
    let mut stories = Vec::new();
    for (module, text) in [
        (core_module("action-echo"), text.clone()),
        (core_module("action-echo"), manifest("agent-echo", "")),
        (component("action-echo"), text.clone()),
        (b"text".to_vec(), text.clone()),
        (wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#).unwrap(), text),
    ] {
        let error = pack::pack(&module, &text).unwrap_err();
        stories.push(format!("{error}\n  hint: {:?}", error.hint()));
    }
    insta::assert_snapshot!(stories.join("\n"), @r#"
    cannot make a component of the module: failed to decode world from module: module was not valid: failed to resolve import `salve:plugin/config@0.1.0::set`: module requires an import interface named `salve:plugin/config@0.1.0`
      hint: Some("Name the capabilities that the code uses in `plugin.toml`, and check `role`.")
    cannot make a component of the module: failed to decode world from module: module was not valid: failed to resolve import `salve:plugin/config@0.1.0::set`: module requires an import interface named `salve:plugin/config@0.1.0`
      hint: Some("Name the capabilities that the code uses in `plugin.toml`, and check `role`.")
    cannot pack: this is a component already
      hint: Some("Give the .wasm file that the compiler wrote, before any packing.")
    cannot pack: this is not a WebAssembly module
      hint: Some("Give the .wasm file that the compiler wrote, before any packing.")
    cannot make a component of the module: failed to decode world from module: module was not valid: failed to resolve import `wasi_snapshot_preview1::fd_write`: module requires an import interface named `wasi_snapshot_preview1`
      hint: Some("Build for wasm32-unknown-unknown: there is no WASI in Salve.")
    "#);
}

/// Guarantees: a file of a few bytes that says it has gigabytes is refused for its length, before room is made for them.
#[test]
fn a_section_is_no_longer_than_its_file() {
    let mut bytes = wat::parse_str("(component)").unwrap();
    append_section(&mut bytes, "other", b"x");
    let at = bytes.len();
    // A custom section of 1.5 GiB.
    bytes.extend([0, 0xff, 0xfe, 0xfb, 0xdd, 5, 1, b'a']);
    let refused = pack::inspect(&bytes).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("cannot read the component's type: section at byte {at} does not fit into the file")
    );
    assert!(story(&refusal(&bench(), &bytes)).contains("does not fit into the file"));
}
