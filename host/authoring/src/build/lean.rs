//! Components as tools link them, made so that the host instantiates them faster: with few data segments.

use super::segments;
use wasm_encoder::{RawSection, Section};
use wasmparser::{BinaryReader, BinaryReaderError};

/// What a component begins with: magic number, version, layer.
const HEADER_BYTES: usize = 8;
/// Sections of components that hold a core module and a component (Component Model, "Binary Format").
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
/// Components within components that are looked into; tools make two or three.
const DEPTH_MAX: usize = 10;

/// The component, and the components in it, made lean. What it does is the same.
///
/// # Errors
/// If this is no component.
pub(super) fn component(bytes: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    within(bytes, DEPTH_MAX)
}

fn within(component: &[u8], depth_left: usize) -> Result<Vec<u8>, BinaryReaderError> {
    let mut reader = BinaryReader::new(component, 0);
    let mut lean = reader.read_bytes(HEADER_BYTES)?.to_vec();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()?;
        let data = reader.read_bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
        let other = match (id, depth_left.checked_sub(1)) {
            (CORE_MODULE, _) => segments::merge(data)?,
            (COMPONENT, Some(depth_left)) => Some(within(data, depth_left)?),
            _ => None,
        };
        RawSection { id, data: other.as_deref().unwrap_or(data) }.append_to(&mut lean);
    }
    Ok(lean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a component's core modules are looked at wherever they stand in it, and nothing else of it changes.
    #[test]
    fn components_are_looked_into() {
        let text = |data: &str| {
            wat::parse_str(format!(
                r#"(component (core module (memory 1) {data}) (core module (func (export "f")))
                     (component (core module (memory 1) {data}) (type (func)) (export "g" (type 0)))
                     (@custom "salve:manifest" "{{}}"))"#
            ))
            .unwrap()
        };
        let lean = component(&text(r#"(data (i32.const 8) "ab") (data (i32.const 10) "c")"#)).unwrap();
        assert_eq!(lean, text(r#"(data (i32.const 8) "abc")"#));
        component(&lean[..lean.len() - 1]).unwrap_err();
        component(b"text").unwrap_err();
    }
}
