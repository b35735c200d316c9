//! Manifests, as `plugin.toml` and as the section of a component.
//!
//! What must hold: no panic; a manifest that is taken has a safe name, and is the same after the way through a section.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_plugins::Manifest;

/// An empty component.
const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

fn check(manifest: &Manifest) {
    let name = &manifest.name.0;
    assert!(!name.is_empty() && name.len() <= 64, "{name:?}");
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    // As JSON it may be longer than it was, and too long.
    let Ok(section) = manifest.to_section() else { return };
    let again = Manifest::of_component(&with_section(&section)).expect("a manifest that was written can be read");
    assert_eq!(&again, manifest);
}

/// The bytes as the manifest section of a component.
fn with_section(json: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"salve:manifest";
    let mut component = COMPONENT.to_vec();
    component.push(0);
    leb128(&mut component, 1 + NAME.len() + json.len());
    component.push(NAME.len() as u8);
    component.extend_from_slice(NAME);
    component.extend_from_slice(json);
    component
}

fn leb128(to: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(manifest) = Manifest::from_toml(text)
    {
        check(&manifest);
    }
    if let Ok(manifest) = Manifest::of_component(&with_section(bytes)) {
        check(&manifest);
    }
    // The bytes may also be a whole component.
    drop(Manifest::of_component(bytes));
});
