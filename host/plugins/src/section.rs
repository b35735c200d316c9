//! Sections of WebAssembly binaries, found and changed without running or compiling anything.
//!
//! ## What always holds
//! - only the outermost sections are read: what a nested module says is nobody's manifest; of the others, lengths are checked
//! - lengths that do not fit into the file are an error, never a read past its end

/// The eight bytes with which a core module begins.
const CORE_HEADER: [u8; 8] = *b"\0asm\x01\0\0\0";
/// The eight bytes with which a component begins.
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// Sections of a component that hold a module or a component.
const NESTED: [u8; 2] = [1, 4];
/// The section of a module that holds its functions, each with its length.
const CODE: u8 = 10;

/// What kind of file this is, by its first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Component,
    CoreModule,
    Other,
}

pub(crate) fn kind(bytes: &[u8]) -> Kind {
    match bytes.get(..8) {
        Some(header) if header == COMPONENT_HEADER => Kind::Component,
        Some(header) if header == CORE_HEADER => Kind::CoreModule,
        _ => Kind::Other,
    }
}

/// One section: its bytes as a whole, and its content.
pub(crate) struct Section<'a> {
    /// 0 is a custom section.
    pub(crate) id: u8,
    pub(crate) whole: &'a [u8],
    pub(crate) content: &'a [u8],
}

impl<'a> Section<'a> {
    /// Name and data of a custom section.
    pub(crate) fn custom(&self) -> Option<(&'a str, &'a [u8])> {
        if self.id != 0 {
            return None;
        }
        let mut rest = self.content;
        let name_bytes = usize::try_from(read_u32(&mut rest)?).ok()?;
        let (name, data) = rest.split_at_checked(name_bytes)?;
        Some((std::str::from_utf8(name).ok()?, data))
    }
}

/// The file is cut off, or a length in it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("section at byte {at} does not fit into the file")]
pub(crate) struct Truncated {
    at: usize,
}

/// All outermost sections of a module or component, in order.
pub(crate) fn sections(bytes: &[u8]) -> impl Iterator<Item = Result<Section<'_>, Truncated>> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (&id, after_id) = rest.split_first()?;
        let start = rest;
        let mut body = after_id;
        let cut = read_u32(&mut body)
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| body.split_at_checked(length));
        let Some((content, next)) = cut else {
            let at = bytes.len() - rest.len();
            rest = &[];
            return Some(Err(Truncated { at }));
        };
        rest = next;
        let whole = start.get(..start.len() - next.len()).unwrap_or_default();
        Some(Ok(Section { id, whole, content }))
    })
}

/// Checks the length of every section and function, those of nested modules and components included. Whoever decodes a component
/// may make room for as many bytes as a length says, and only then look whether they are there.
pub(crate) fn check_lengths(bytes: &[u8]) -> Result<(), Truncated> {
    // Not by recursion: how deep they are nested is up to strangers.
    let mut left = vec![(0, bytes)];
    while let Some((start, bytes)) = left.pop() {
        let is_component = kind(bytes) == Kind::Component;
        let mut at = start + 8;
        for section in sections(bytes) {
            let section = section.map_err(|cut| Truncated { at: start + cut.at })?;
            at += section.whole.len();
            let content_at = at - section.content.len();
            if is_component && NESTED.contains(&section.id) {
                left.push((content_at, section.content));
            } else if !is_component && section.id == CODE {
                check_functions(section.content).map_err(|cut| Truncated { at: content_at + cut.at })?;
            }
        }
    }
    Ok(())
}

/// Checks the lengths of functions.
fn check_functions(content: &[u8]) -> Result<(), Truncated> {
    let mut rest = content;
    // How many they are.
    read_u32(&mut rest).ok_or(Truncated { at: 0 })?;
    while !rest.is_empty() {
        let at = content.len() - rest.len();
        let length = read_u32(&mut rest).and_then(|length| usize::try_from(length).ok());
        let body = length.and_then(|length| rest.split_at_checked(length));
        (_, rest) = body.ok_or(Truncated { at })?;
    }
    Ok(())
}

/// `bytes` without the custom sections whose name `unwanted` picks.
pub(crate) fn without_custom(bytes: &[u8], unwanted: impl Fn(&str) -> bool) -> Result<Vec<u8>, Truncated> {
    let mut kept = bytes.get(..8).unwrap_or_default().to_vec();
    for section in sections(bytes) {
        let section = section?;
        if !section.custom().is_some_and(|(name, _)| unwanted(name)) {
            kept.extend_from_slice(section.whole);
        }
    }
    Ok(kept)
}

/// Appends a custom section.
pub(crate) fn append_custom(bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut content = Vec::with_capacity(name.len() + data.len() + 5);
    write_length(&mut content, name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    bytes.push(0);
    write_length(bytes, content.len());
    bytes.extend_from_slice(&content);
}

/// Unsigned LEB128, at most five bytes.
fn read_u32(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

/// Unsigned LEB128 of a length.
fn write_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a section that was appended is found again, and removing it restores the bytes.
    #[test]
    fn appends_finds_removes() {
        for length in [0, 1, 127, 128, 70_000] {
            let plain = COMPONENT_HEADER.to_vec();
            let mut bytes = plain.clone();
            append_custom(&mut bytes, "salve:manifest", &vec![7; length]);
            append_custom(&mut bytes, "other", b"x");
            let found: Vec<_> =
                sections(&bytes).map(|section| section.unwrap().custom().unwrap().0).collect();
            assert_eq!(found, ["salve:manifest", "other"]);
            assert_eq!(without_custom(&bytes, |_| true), Ok(plain));
        }
    }

    /// Guarantees: whatever the bytes, reading ends and never panics; a file cut anywhere is noticed.
    #[test]
    fn survives_cut_files() {
        let mut bytes = COMPONENT_HEADER.to_vec();
        append_custom(&mut bytes, "salve:manifest", &[1; 300]);
        for length in 9..bytes.len() {
            assert!(sections(&bytes[..length]).any(|section| section.is_err()), "cut at {length}");
        }
        let huge = [COMPONENT_HEADER.as_slice(), &[0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]].concat();
        assert!(sections(&huge).next().is_some_and(|section| section.is_err()));
        let endless = [COMPONENT_HEADER.as_slice(), &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]].concat();
        assert!(sections(&endless).next().is_some_and(|section| section.is_err()));
    }

    /// Guarantees: a length that is too long is noticed where it stands, also that of a function in a module in a component in
    /// a component; nesting may be as deep as the file is long.
    #[test]
    fn checks_nested_lengths() {
        let inside = |id: u8, content: &[u8]| {
            let mut bytes = COMPONENT_HEADER.to_vec();
            bytes.push(id);
            write_length(&mut bytes, content.len());
            [bytes, content.to_vec()].concat()
        };
        let with_function = |length: &[u8]| {
            let code = [&[1], length, &[0, 0x0b]].concat();
            let module = [&CORE_HEADER[..], &[CODE, u8::try_from(code.len()).unwrap()], &code].concat();
            inside(4, &inside(1, &module))
        };
        assert_eq!(check_lengths(&with_function(&[2])), Ok(()));
        // 2 GiB, for which a decoder once made room.
        let at = 10 + 10 + 10 + 1;
        assert_eq!(check_lengths(&with_function(&[0xf0, 0xff, 0xff, 0xff, 0x07])), Err(Truncated { at }));
        assert_eq!(
            check_lengths(&inside(1, &[&CORE_HEADER[..], &[2, 9]].concat())),
            Err(Truncated { at: 18 })
        );
        let mut deep = COMPONENT_HEADER.to_vec();
        for _ in 0..10_000 {
            deep = inside(4, &deep);
        }
        assert_eq!(check_lengths(&deep), Ok(()));
    }
}
