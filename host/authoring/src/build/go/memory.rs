//! The memory that a core module begins with.
//!
//! Go's linker asks for the pages of the program's data alone, and Go's runtime then grows memory a dozen times before the
//! plugin's first line. Growing costs the host a system call each; beginning with enough costs nothing, since pages that nobody
//! touches are not there.

/// Id of the memory section.
const MEMORY_SECTION: u8 = 5;
/// Where the sections begin: behind magic number and version.
const SECTIONS_BEGIN: usize = 8;

/// The module, with `pages` (64 KiB each) more at its beginning; none if it is not a module with one memory of 32 bits.
pub(super) fn raise(module: &[u8], pages: u32) -> Option<Vec<u8>> {
    let mut at = SECTIONS_BEGIN;
    loop {
        let id = *module.get(at)?;
        let (size, begin) = number(module, at + 1)?;
        let end = begin.checked_add(usize::try_from(size).ok()?)?;
        let content = module.get(begin..end)?;
        if id != MEMORY_SECTION {
            at = end;
            continue;
        }
        // One memory; flags: bit 0 for a maximum, all others for kinds that Go does not use.
        let [1, flags @ (0 | 1), ..] = content else { return None };
        let (least, rest) = number(content, 2)?;
        let mut raised = vec![1, *flags];
        append(&mut raised, least.checked_add(pages)?);
        raised.extend_from_slice(content.get(rest..)?);

        let mut whole = module.get(..at)?.to_vec();
        whole.push(MEMORY_SECTION);
        append(&mut whole, u32::try_from(raised.len()).ok()?);
        whole.extend_from_slice(&raised);
        whole.extend_from_slice(module.get(end..)?);
        return Some(whole);
    }
}

/// An unsigned LEB128 number of 32 bits, and where it ends.
fn number(bytes: &[u8], begin: usize) -> Option<(u32, usize)> {
    let mut value = 0_u32;
    for index in 0..5_u32 {
        let at = begin.checked_add(usize::try_from(index).ok()?)?;
        let byte = *bytes.get(at)?;
        value |= u32::from(byte & 0x7f).checked_shl(7 * index)?;
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn append(to: &mut Vec<u8>, mut value: u32) {
    loop {
        let [low, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if value == 0 {
            to.push(low);
            return;
        }
        to.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a module begins with more memory and is otherwise the same, maximum included; what is no such module is
    /// left alone, wherever it is cut.
    #[test]
    fn memory_is_raised() {
        let module = |memory: &str| wat::parse_str(format!("(module (memory {memory}) (func))")).unwrap();
        assert_eq!(raise(&module("3"), 60), Some(module("63")));
        assert_eq!(raise(&module("100 300"), 100), Some(module("200 300")));
        assert_eq!(raise(&module("0"), 0), Some(module("0")));
        assert_eq!(raise(&wat::parse_str("(module (func))").unwrap(), 1), None);
        assert_eq!(raise(b"text", 1), None);
        let whole = module("3");
        for cut in 0..12 {
            assert_eq!(raise(&whole[..cut], 1), None);
        }
    }
}
