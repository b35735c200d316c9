//! Mutated manifests, as `plugin.toml` and as the section of a component.
//!
//! What must hold: no panic; a manifest that is taken has a safe name, is the same after the way through a section, and
//! describes a world that the least guest of its role fits into.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_fuzz::{seeds, wasm};
use salve_plugins::{Manifest, Role, pack};
use std::sync::OnceLock;

/// For each role a component without a manifest, that imports nothing but what its role has.
fn least(role: Role) -> &'static [u8] {
    static GUESTS: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    let guests = GUESTS.get_or_init(|| {
        [("detector", "detector-count"), ("agent", "agent-nonsense"), ("action", "action-sleep")].map(
            |(role, guest)| {
                let manifest =
                    format!("name = 'a'\nversion = '0.1.0'\nrole = '{role}'\nsummary = 'A guest.'\n");
                let manifest = Manifest::from_toml(&manifest).expect("a manifest");
                let module = wat::parse_file(seeds::workspace(&format!("tests/guests/{guest}.wat")))
                    .expect("a guest is a module");
                pack::encode(&module, &manifest, None).expect("a guest becomes a component")
            },
        )
    });
    match role {
        Role::Detector => &guests[0],
        Role::Agent => &guests[1],
        Role::Action => &guests[2],
    }
}

/// Real ones, and one with every key, both as TOML and as JSON.
fn make_seeds() -> Vec<Vec<u8>> {
    let mut texts = seeds::manifests();
    texts.push(
        "name = 'a'\nversion = '1.2.3-rc.1'\nrole = 'action'\nsummary = 'S'\ncontract = '0.1.0'\nidempotent = true\nreversible = true\n\
         capabilities = [{ capability = 'config', verbs = ['*'] }, { capability = 'http', verbs = ['get', 'send'] }]\n\
         limits = { cpu_ms = 1, memory_bytes = 65536, host_calls = 3 }\n[parameters]\ntype = 'object'\nrequired = ['a']\n\
         properties.a = { enum = [1, 2.5, 'x', false], anyOf = [{ minimum = 0, multipleOf = 0.5 }, { type = 'string', pattern = '^[a-z]+$', \
         maxLength = 9, format = 'date-time' }] }\npatternProperties.'^x-' = { items = { const = 1 }, uniqueItems = true }\n"
            .to_owned(),
    );
    let mut all = Vec::new();
    for text in texts {
        let manifest = Manifest::from_toml(&text).expect("a seed is a manifest");
        all.push(manifest.to_section().expect("a seed is no longer than a manifest may be"));
        all.push(text.into_bytes());
    }
    all
}

fn check(manifest: &Manifest) {
    let name = &manifest.name.0;
    assert!(!name.is_empty() && name.len() <= 64, "{name:?}");
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    // As JSON it may be longer than it was, and too long.
    let Ok(section) = manifest.to_section() else { return };
    let component = wasm::with_custom(least(manifest.role), "salve:manifest", &section);
    let again = Manifest::of_component(&component).expect("a manifest that was written can be read");
    assert_eq!(&again, manifest);
    let inspection = pack::inspect(&component).expect("a component");
    assert_eq!(inspection.objection, None, "the least guest fits: {manifest:?}");
}

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(manifest) = Manifest::from_toml(text)
    {
        check(&manifest);
    }
    if let Ok(manifest) = Manifest::of_component(&wasm::with_custom(&wasm::COMPONENT, "salve:manifest", bytes)) {
        check(&manifest);
    }
    // The bytes may also be a whole component.
    drop(Manifest::of_component(bytes));
});
