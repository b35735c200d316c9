//! Python objects whose reference counts are not written any more.
//!
//! An instance begins with a copy-on-write image of the memory that the build leaves, so a page that a call writes to is a page
//! fault. CPython writes to every object that it looks at, but not to immortal ones (PEP 683). The SDK lists the objects that are there at
//! the end of the build (`sdk/python/src/salve_plugin/_immortal.py` says how); here those that are still there are made immortal.
//!
//! ## What always holds
//! - a list that is cut off or damaged changes nothing, nor does memory without a list
//! - of an object, the count alone is changed, and only if count and type stand where the list says: what was freed has no count
//!   that a living object can have

use super::segments::Piece;

/// What the list begins with.
const MARK: &[u8] = b"salve-immortal-objects-1";
/// The least count of an immortal object in CPython for 32 bits, and of one that is part of the interpreter.
const IMMORTAL: std::ops::Range<u32> = 1 << 30..6 << 28;
/// Counts of living objects are below: where memory was freed, an address stands instead, which is above, or zero.
const COUNT_END: u32 = 1 << 16;
const WORD_BYTES: usize = 4;

/// Makes the listed objects immortal, and clears the list; says how many they were.
pub(super) fn mark(pieces: &mut [Piece]) -> usize {
    let Some((piece, at, words)) = list(pieces) else { return 0 };
    let Some(objects) = objects(&words) else { return 0 };
    // It is of no more use, and zeros are small when a component is compressed.
    let end = at.saturating_add(words.len().saturating_mul(WORD_BYTES));
    if let Some(bytes) = pieces.get_mut(piece).and_then(|piece| piece.bytes.get_mut(at..end)) {
        bytes.fill(0);
    }
    let Some(immortal) = words.first() else { return 0 };
    let mut marked: usize = 0;
    for (address, kind) in objects {
        let Some(head) = head(pieces, address) else { continue };
        let (count, found) = head.split_at_mut(WORD_BYTES);
        let is_living = number(count).is_some_and(|count| (1..COUNT_END).contains(&count));
        if is_living && number(found) == Some(kind) {
            count.copy_from_slice(&immortal.to_le_bytes());
            marked = marked.saturating_add(1);
        }
    }
    marked
}

/// Where the list's numbers begin, and what they are.
fn list(pieces: &[Piece]) -> Option<(usize, usize, Vec<u32>)> {
    pieces.iter().enumerate().find_map(|(index, piece)| {
        // What was freed may have a part of it, so each place with the mark is looked at.
        piece.bytes.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK).find_map(
            |(found, _)| {
                let at = found.checked_add(MARK.len())?;
                let words = words(piece.bytes.get(at..)?)?;
                Some((index, at, words))
            },
        )
    })
}

/// The numbers of a list, if it is whole.
fn words(bytes: &[u8]) -> Option<Vec<u32>> {
    let mut words = bytes.chunks_exact(WORD_BYTES).map_while(number);
    let (immortal, types) = (words.next()?, words.next()?);
    let mut list = vec![immortal, types];
    for _ in 0..types {
        let (kind, count) = (words.next()?, words.next()?);
        list.extend([kind, count]);
        for _ in 0..count {
            list.push(words.next()?);
        }
    }
    let sum = list.iter().fold(0_u32, |sum, word| sum.wrapping_add(*word));
    (words.next()? == sum && IMMORTAL.contains(&immortal)).then_some(list)
}

/// Addresses of objects, and of the type of each.
fn objects(words: &[u32]) -> Option<Vec<(u32, u32)>> {
    let mut rest = words.get(2..)?;
    let mut objects = Vec::new();
    while let [kind, count, more @ ..] = rest {
        let (addresses, next) = more.split_at_checked(usize::try_from(*count).ok()?)?;
        objects.extend(addresses.iter().map(|address| (*address, *kind)));
        rest = next;
    }
    Some(objects)
}

/// An object's count and type.
fn head(pieces: &mut [Piece], address: u32) -> Option<&mut [u8]> {
    let address = u64::from(address);
    let index = pieces.partition_point(|piece| piece.begin <= address).checked_sub(1)?;
    let piece = pieces.get_mut(index)?;
    let begin = usize::try_from(address.checked_sub(piece.begin)?).ok()?;
    piece.bytes.get_mut(begin..begin.checked_add(2 * WORD_BYTES)?)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: u64 = 0x20_000;
    const KIND: u32 = 0x30_000;
    const COUNT: u32 = 5 << 28;

    /// Objects as (count, type), and after them a list of all of them.
    fn memory(objects: &[(u32, u32)], change: impl FnOnce(&mut Vec<u32>)) -> Vec<Piece> {
        let bytes: Vec<u8> =
            objects.iter().flat_map(|(count, kind)| [*count, *kind]).flat_map(u32::to_le_bytes).collect();
        let addresses =
            (0..objects.len()).map(|index| u32::try_from(BEGIN).unwrap() + 8 * u32::try_from(index).unwrap());
        let mut words = vec![COUNT, 1, KIND, u32::try_from(objects.len()).unwrap()];
        words.extend(addresses);
        words.push(words.iter().fold(0, |sum: u32, word| sum.wrapping_add(*word)));
        change(&mut words);
        // Where it stands is not a multiple of four, as a string's bytes may be; before it there is the rest of another one.
        let list = [&b"xyz"[..], MARK, &[1; 9], MARK]
            .concat()
            .into_iter()
            .chain(words.into_iter().flat_map(u32::to_le_bytes));
        vec![Piece { begin: BEGIN, bytes }, Piece { begin: 0x40_000, bytes: list.collect() }]
    }

    fn count(pieces: &[Piece], object: usize) -> u32 {
        number(&pieces[0].bytes[8 * object..8 * object + 4]).unwrap()
    }

    /// Guarantees: objects that live become immortal; what was freed, or is of another type by now, stays as it is, and the list is gone.
    #[test]
    fn living_objects_become_immortal() {
        let before = [
            (1, KIND),
            (0, KIND),
            (0x21_000, KIND),
            (3, KIND + 4),
            (65_535, KIND),
            (COUNT, KIND),
            (7 << 28, KIND),
        ];
        let mut pieces = memory(&before, |_| ());
        assert_eq!(mark(&mut pieces), 2);
        let after: Vec<u32> = (0..before.len()).map(|object| count(&pieces, object)).collect();
        assert_eq!(after, [COUNT, 0, 0x21_000, 3, COUNT, COUNT, 7 << 28]);
        assert_eq!(mark(&mut pieces), 0, "the list is gone");
    }

    /// Guarantees: a list with any bit changed, or cut off anywhere, changes nothing; nor does an address outside of memory.
    #[test]
    fn damaged_lists_change_nothing() {
        let objects = [(1, KIND), (2, KIND)];
        let length = memory(&objects, |_| ())[1].bytes.len();
        let begin = length - 7 * WORD_BYTES - MARK.len();
        for at in begin..length {
            let damages: [fn(&mut Vec<u8>, usize); 2] = [Vec::truncate, |bytes, at| bytes[at] ^= 4];
            for damage in damages {
                let mut pieces = memory(&objects, |_| ());
                damage(&mut pieces[1].bytes, at);
                assert_eq!(mark(&mut pieces), 0, "{at}");
                assert_eq!((count(&pieces, 0), count(&pieces, 1)), (1, 2));
            }
        }
        for address in [0, 0x20_00c, 0x3f_fff, 0x50_000, u32::MAX] {
            let mut pieces = memory(&objects, |words| {
                words[6] = words[6].wrapping_sub(words[4]).wrapping_add(address);
                words[4] = address;
            });
            assert_eq!(mark(&mut pieces), 1, "{address:#x}");
            assert_eq!((count(&pieces, 0), count(&pieces, 1)), (1, COUNT));
        }
        assert_eq!(mark(&mut []), 0);
    }
}
