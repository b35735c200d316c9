//! The protobuf wire format: tags, varints, fixed numbers and length-delimited bytes, borrowed.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. Groups are refused: OTLP has none.

use crate::error::{DecodeError, Problem};

/// One field's value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wire<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Wire<'a> {
    fn wire_type(self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        }
    }

    #[cold]
    pub(crate) fn wrong(self, number: u32, expected: u8) -> DecodeError {
        DecodeError::new(Problem::WireType { number, found: self.wire_type(), expected })
    }

    #[inline(always)]
    pub(crate) fn varint(self, number: u32) -> Result<u64, DecodeError> {
        match self {
            Self::Varint(value) => Ok(value),
            other => Err(other.wrong(number, 0)),
        }
    }

    /// An `int32`, `uint32`, `bool` or enumeration: protobuf keeps the low 32 bits.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "protobuf says that longer varints are cut to the field's type"
    )]
    pub(crate) fn varint32(self, number: u32) -> Result<u32, DecodeError> {
        Ok(self.varint(number)? as u32)
    }

    /// A zigzag `sint32`.
    #[inline]
    pub(crate) fn sint32(self, number: u32) -> Result<i32, DecodeError> {
        let encoded = self.varint32(number)?;
        Ok((encoded >> 1).cast_signed() ^ -(encoded & 1).cast_signed())
    }

    #[inline(always)]
    pub(crate) fn fixed64(self, number: u32) -> Result<u64, DecodeError> {
        match self {
            Self::Fixed64(value) => Ok(value),
            other => Err(other.wrong(number, 1)),
        }
    }

    #[inline]
    pub(crate) fn fixed32(self, number: u32) -> Result<u32, DecodeError> {
        match self {
            Self::Fixed32(value) => Ok(value),
            other => Err(other.wrong(number, 5)),
        }
    }

    #[inline]
    pub(crate) fn double(self, number: u32) -> Result<f64, DecodeError> {
        Ok(f64::from_bits(self.fixed64(number)?))
    }

    #[inline(always)]
    pub(crate) fn bytes(self, number: u32) -> Result<&'a [u8], DecodeError> {
        match self {
            Self::Bytes(value) => Ok(value),
            other => Err(other.wrong(number, 2)),
        }
    }

    /// A trace or span id: empty, or of exactly `length_bytes`.
    #[inline]
    pub(crate) fn id(self, number: u32, length_bytes: usize) -> Result<&'a [u8], DecodeError> {
        let id = self.bytes(number)?;
        if id.is_empty() || id.len() == length_bytes {
            return Ok(id);
        }
        Err(DecodeError::new(Problem::IdLength {
            number,
            found_bytes: id.len(),
            expected_bytes: length_bytes,
        }))
    }

    #[inline]
    pub(crate) fn str(self, number: u32) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(number)?).map_err(|_| DecodeError::new(Problem::Utf8 { number }))
    }
}

/// Reads the fields of one message, in the order of the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message, total: message.len() }
    }

    /// How many bytes have been read.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// The next field and its number; `None` at the end of the message.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.read_varint()?).map_err(|_| DecodeError::new(Problem::Tag))?;
        let number = tag >> 3;
        if number == 0 {
            return Err(DecodeError::new(Problem::Tag));
        }
        let value = match tag & 7 {
            0 => Wire::Varint(self.read_varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.read_array()?)),
            2 => {
                let length = self.read_varint()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let Some((value, rest)) = self.rest.split_at_checked(length) else {
                    return Err(DecodeError::new(Problem::Truncated));
                };
                self.rest = rest;
                Wire::Bytes(value)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.read_array()?)),
            3 | 4 => return Err(DecodeError::new(Problem::Group { number })),
            _ => return Err(DecodeError::new(Problem::Tag)),
        };
        Ok(Some((number, value)))
    }

    /// A varint without a tag, as in packed fields; `None` at the end.
    #[inline]
    pub(crate) fn next_packed_varint(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.rest.is_empty() { Ok(None) } else { self.read_varint().map(Some) }
    }

    /// A fixed-width number without a tag, as in packed fields; `None` at the end.
    #[inline]
    pub(crate) fn next_packed_fixed64(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.rest.is_empty() {
            Ok(None)
        } else {
            self.read_array().map(|value| Some(u64::from_le_bytes(value)))
        }
    }

    #[inline(always)]
    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((value, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(DecodeError::new(Problem::Truncated));
        };
        self.rest = rest;
        Ok(*value)
    }

    #[inline(always)]
    fn read_varint(&mut self) -> Result<u64, DecodeError> {
        match self.rest {
            [first, rest @ ..] if *first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*first))
            }
            [first, second, rest @ ..] if *second < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*first & 0x7f) | (u64::from(*second) << 7))
            }
            _ => self.read_long_varint(),
        }
    }

    fn read_long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the 64th bit and nothing else.
            if index == 9 && *byte > 1 {
                return Err(DecodeError::new(Problem::Varint));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(DecodeError::new(if self.rest.len() < 10 { Problem::Truncated } else { Problem::Varint }))
    }
}

/// Where the values of one repeated field lie in a message: from the first one's tag to the last one's end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Takes in a field that was read from `start` to `end`.
    #[inline]
    pub(crate) fn include(&mut self, start: usize, end: usize) {
        if self.end == 0 {
            self.start = start;
        }
        self.end = end;
    }

    /// That part of `message`; empty if the field never came.
    #[inline]
    pub(crate) fn of<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.start..self.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Guarantees: every varint that protobuf can write is read back, and takes as many bytes as were written.
        #[test]
        fn varints_read_back(value: u64) {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(value, &mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.next_packed_varint().unwrap(), Some(value));
            prop_assert_eq!(reader.position(), bytes.len());
        }

        /// Guarantees: zigzag numbers read back.
        #[test]
        fn sint32_reads_back(value: i32) {
            let encoded = ((value << 1) ^ (value >> 31)).cast_unsigned();
            prop_assert_eq!(Wire::Varint(u64::from(encoded)).sint32(1).unwrap(), value);
        }
    }

    /// Guarantees: what is not protobuf is refused with its reason.
    #[test]
    fn refuses_what_is_not_protobuf() {
        for (bytes, expected) in [
            (&[0x08][..], "it ends in the middle of a field"),
            (&[0x0a, 0x02, 0x00], "it ends in the middle of a field"),
            (&[0x09, 0x00], "it ends in the middle of a field"),
            (&[0x00, 0x00], "it has a field with an impossible number or wire type"),
            (&[0x0e], "it has a field with an impossible number or wire type"),
            (&[0x0b], "field 1 is a group, which OTLP does not use"),
            (
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
                "it has a number longer than 64 bits",
            ),
        ] {
            let error = Reader::new(bytes).next().unwrap_err();
            assert_eq!(error.problem().to_string(), expected, "{bytes:?}");
        }
    }
}
