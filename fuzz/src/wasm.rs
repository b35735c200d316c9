//! WebAssembly files as their sections, and mutation of them.
//!
//! Nearly every random change of a component is caught by the first length that does not fit any more. So two changes of
//! three are made within one section, also of a module within the component and of a function within that, and all
//! lengths around it are put right.

use libfuzzer_sys::fuzzer_mutate;

/// Magic number and version.
const HEADER_BYTES: usize = 8;
/// An empty component.
pub const COMPONENT: [u8; HEADER_BYTES] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
/// Sections of a component that hold a module or another component.
const NESTED: [u8; 2] = [1, 4];
/// The section of a module that holds the functions, each with its length.
const CODE: u8 = 10;
/// How far a section may grow in one step.
const GROWTH_BYTES: usize = 64;

#[derive(Clone)]
struct Section {
    id: u8,
    content: Vec<u8>,
}

/// `component` with a custom section at its end.
pub fn with_custom(component: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    write_length(&mut content, name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    let mut bytes = component.to_vec();
    append(&mut bytes, &Section { id: 0, content });
    bytes
}

/// One step of mutation, of `data[..size]` in place; gives the new size. To be named in `fuzz_mutator!`.
pub fn mutate(data: &mut [u8], size: usize, size_max: usize, seed: u32) -> usize {
    let mut choices = Choices(u64::from(seed));
    if choices.below(3) != 0
        && let Some(bytes) = mutated(&data[..size], &mut choices)
        && !bytes.is_empty()
        && bytes.len() <= size_max
    {
        data[..bytes.len()].copy_from_slice(&bytes);
        return bytes.len();
    }
    fuzzer_mutate(data, size, size_max)
}

/// A module or component with one section changed; none if it is neither, or cut off.
fn mutated(bytes: &[u8], choices: &mut Choices) -> Option<Vec<u8>> {
    let header = bytes.get(..HEADER_BYTES).filter(|header| header.starts_with(b"\0asm"))?;
    let is_component = header[6] != 0;
    let mut sections = split(&bytes[HEADER_BYTES..])?;
    if sections.is_empty() {
        return None;
    }
    let index = choices.below(sections.len());
    match choices.below(12) {
        0 => drop(sections.remove(index)),
        1 => {
            let to = choices.below(sections.len() + 1);
            sections.insert(to, sections[index].clone());
        }
        2 => {
            let other = choices.below(sections.len());
            sections.swap(index, other);
        }
        _ => {
            let Section { id, content } = &mut sections[index];
            let within = if is_component && NESTED.contains(id) {
                mutated(content, choices)
            } else if !is_component && *id == CODE {
                mutated_functions(content, choices)
            } else {
                None
            };
            *content = within.unwrap_or_else(|| mutated_bytes(content));
        }
    }
    let mut all = header.to_vec();
    sections.iter().for_each(|section| append(&mut all, section));
    Some(all)
}

/// The code section with one function's body changed.
fn mutated_functions(content: &[u8], choices: &mut Choices) -> Option<Vec<u8>> {
    let mut rest = content;
    let count = read_length(&mut rest)?;
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let length = read_length(&mut rest)?;
        let (body, next) = rest.split_at_checked(length)?;
        bodies.push(body.to_vec());
        rest = next;
    }
    if bodies.len() != count || bodies.is_empty() {
        return None;
    }
    let index = choices.below(bodies.len());
    bodies[index] = mutated_bytes(&bodies[index]);
    let mut all = Vec::new();
    write_length(&mut all, count);
    for body in bodies {
        write_length(&mut all, body.len());
        all.extend_from_slice(&body);
    }
    Some(all)
}

/// What libFuzzer makes of some bytes.
fn mutated_bytes(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len() + GROWTH_BYTES, 0);
    let size_max = bytes.len();
    let size = fuzzer_mutate(&mut bytes, content.len(), size_max);
    bytes.truncate(size);
    bytes
}

fn split(mut rest: &[u8]) -> Option<Vec<Section>> {
    let mut sections = Vec::new();
    while let Some((&id, body)) = rest.split_first() {
        rest = body;
        let length = read_length(&mut rest)?;
        let (content, next) = rest.split_at_checked(length)?;
        sections.push(Section { id, content: content.to_vec() });
        rest = next;
    }
    Some(sections)
}

fn append(bytes: &mut Vec<u8>, section: &Section) {
    bytes.push(section.id);
    write_length(bytes, section.content.len());
    bytes.extend_from_slice(&section.content);
}

/// Unsigned LEB128, at most five bytes.
fn read_length(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0_usize;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn write_length(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Numbers that follow from libFuzzer's seed, so that a run can be repeated. Source: splitmix64, G. L. Steele Jr., D. Lea and
/// C. H. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed % bound as u64) as usize
    }
}
