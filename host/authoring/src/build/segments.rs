//! The data segments of core modules.
//!
//! Go's linker leaves out every run of eight zeros, and the tools that write a JavaScript or Python program with its memory as it
//! stood do alike, so a small program has thousands of segments, up to 45,000. The host keeps an address and a length of each in
//! every instance, and writes them when it makes one: that took longer than a call. A few zeros more in the file cost nothing.

use super::immortal;
use wasm_encoder::{ConstExpr, DataSection, Module, RawSection, SectionId};
use wasmparser::{BinaryReaderError, DataKind, Operator, Parser, Payload};

/// Zeros that are written rather than begin a new segment, in bytes.
const GAP_BYTES_MAX: u64 = 1024;

/// A piece of memory.
pub(super) struct Piece {
    pub(super) begin: u64,
    pub(super) bytes: Vec<u8>,
}

/// The module with few segments; none if its code names them, or they are not those of one memory at fixed places in their order.
///
/// # Errors
/// If this is no module.
pub(super) fn merge(module: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let mut merged = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            // Code that copies or drops segments needs their number here.
            Payload::DataCountSection { .. } => return Ok(None),
            Payload::DataSection(section) => {
                let Some(mut pieces) = pieces(section)? else { return Ok(None) };
                immortal::mark(&mut pieces);
                let mut data = DataSection::new();
                for Piece { begin, bytes } in pieces {
                    let Ok(begin) = u32::try_from(begin) else { return Ok(None) };
                    data.active(0, &ConstExpr::i32_const(begin.cast_signed()), bytes);
                }
                merged.section(&data);
            }
            other => {
                if let Some((id, range)) = other.as_section()
                    && let Some(data) = module.get(range)
                    && id != u8::from(SectionId::Data)
                {
                    merged.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(Some(merged.finish()))
}

/// What the segments put into memory, near ones as one.
fn pieces(section: wasmparser::DataSectionReader<'_>) -> Result<Option<Vec<Piece>>, BinaryReaderError> {
    let mut pieces: Vec<Piece> = Vec::new();
    for segment in section {
        let segment = segment?;
        let DataKind::Active { memory_index: 0, offset_expr } = segment.kind else {
            match segment.kind {
                // Nothing names it, so nothing is lost.
                DataKind::Passive => continue,
                DataKind::Active { .. } => return Ok(None),
            }
        };
        let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else {
            return Ok(None);
        };
        let begin = u64::from(value.cast_unsigned());
        if let Some(last) = pieces.last_mut() {
            let end = last.begin.saturating_add(u64::try_from(last.bytes.len()).unwrap_or(u64::MAX));
            // What overlaps may depend on the order.
            let Some(gap) = begin.checked_sub(end) else { return Ok(None) };
            if gap <= GAP_BYTES_MAX {
                let zeros = usize::try_from(gap).unwrap_or_default();
                last.bytes.resize(last.bytes.len().saturating_add(zeros), 0);
                last.bytes.extend_from_slice(segment.data);
                continue;
            }
        }
        pieces.push(Piece { begin, bytes: segment.data.to_vec() });
    }
    Ok(Some(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(data: &str) -> Option<Vec<u8>> {
        merge(&wat::parse_str(format!("(module (memory 1) {data} (func))")).unwrap()).unwrap()
    }

    /// Guarantees: near segments become one with zeros between, far ones do not, and those that nothing names are gone; all else
    /// is the same.
    #[test]
    fn near_segments_become_one() {
        let module = |data: &str| wat::parse_str(format!("(module (memory 1) {data} (func))")).unwrap();
        let near = r#"(data "unnamed") (data (i32.const 8) "ab") (data (i32.const 10) "c") (data (i32.const 13) "d")"#;
        assert_eq!(merged(near), Some(module(r#"(data (i32.const 8) "abc\00\00d")"#)));
        let far = r#"(data (i32.const 8) "a") (data (i32.const 1034) "b")"#;
        assert_eq!(merged(far), Some(module(far)));
        assert_eq!(merged(""), Some(module("")));
    }

    /// Guarantees: a module whose segments mean more than bytes at their places is left alone.
    #[test]
    fn others_are_left_alone() {
        for data in [
            r#"(data (i32.const 8) "abc") (data (i32.const 9) "z")"#,
            r#"(data (i32.const 8) "abc") (data (i32.const 2) "z")"#,
            r#"(global $g i32 (i32.const 1)) (data (global.get $g) "abc")"#,
            r#"(data $d "abc") (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)))"#,
            r#"(memory $more 1) (data (memory $more) (i32.const 1) "abc")"#,
        ] {
            assert_eq!(merged(data), None, "{data}");
        }
        merge(b"text").unwrap_err();
    }
}
