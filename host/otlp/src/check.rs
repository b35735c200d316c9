//! Checks a whole request before anything of it is used.

use crate::{
    error::{DecodeError, Problem},
    schema::{self, Counted, Field, Kind, Label, Message},
    wire::{Reader, Wire},
};

/// What a request may not exceed. Its length in bytes is the caller's to bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep attribute values and log bodies may nest: 1 is a plain value. 24 by default, which keeps whole requests
    /// within the 100 messages that protobuf libraries allow.
    pub value_depth_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { value_depth_max: 24 }
    }
}

/// What a request holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Resources, whether they hold anything or not.
    pub resources: u64,
    /// Data points, spans or log records.
    pub items: u64,
}

/// Checks an encoded `ExportMetricsServiceRequest` to its last byte: structure, types, UTF-8, id lengths, nesting.
///
/// What it accepts, [`crate::walk_metrics`] walks without error, attributes and numbers decode in full, and other
/// protobuf libraries read the same way. Fields that OTLP does not know are skipped.
///
/// # Errors
/// [`DecodeError`] with the path to the first thing that is wrong.
pub fn check_metrics(bytes: &[u8], limits: &Limits) -> Result<Counts, DecodeError> {
    check(bytes, &schema::METRICS, limits)
}

/// Checks an encoded `ExportTraceServiceRequest`; see [`check_metrics`].
///
/// # Errors
/// [`DecodeError`] with the path to the first thing that is wrong.
pub fn check_traces(bytes: &[u8], limits: &Limits) -> Result<Counts, DecodeError> {
    check(bytes, &schema::TRACES, limits)
}

/// Checks an encoded `ExportLogsServiceRequest`; see [`check_metrics`].
///
/// # Errors
/// [`DecodeError`] with the path to the first thing that is wrong.
pub fn check_logs(bytes: &[u8], limits: &Limits) -> Result<Counts, DecodeError> {
    check(bytes, &schema::LOGS, limits)
}

fn check(bytes: &[u8], message: &'static Message, limits: &Limits) -> Result<Counts, DecodeError> {
    let mut checker = Checker { counts: Counts::default(), value_depth_max: limits.value_depth_max };
    checker.message(bytes, message, 0)?;
    Ok(checker.counts)
}

struct Checker {
    counts: Counts,
    value_depth_max: u32,
}

impl Checker {
    /// Only values can hold themselves, so that bounding their depth bounds this recursion.
    fn message(&mut self, bytes: &[u8], message: &'static Message, depth: u32) -> Result<(), DecodeError> {
        let depth = match message.counts {
            Counted::No => depth,
            Counted::Resource => {
                self.counts.resources += 1;
                depth
            }
            Counted::Item => {
                self.counts.items += 1;
                depth
            }
            Counted::Value => {
                if depth >= self.value_depth_max {
                    return Err(DecodeError::new(Problem::TooDeep { depth_max: self.value_depth_max }));
                }
                depth + 1
            }
        };
        // Bit by field number; bit 0 stands for the choice, since no field has that number.
        let mut seen = 0u32;
        let mut reader = Reader::new(bytes);
        let mut start = 0;
        while let Some((number, wire)) = reader.next()? {
            let Some(field) = message.field(number) else {
                start = reader.position();
                continue;
            };
            let bit = match field.label {
                Label::Once => 1 << number,
                Label::Choice => 1,
                Label::Optional | Label::Repeated => 0,
            };
            if seen & bit != 0 {
                return Err(DecodeError::new(Problem::Repeated { number }));
            }
            seen |= bit;
            if let (Kind::Message(inner), Wire::Bytes(inner_bytes)) = (field.kind, wire) {
                if std::ptr::eq(inner, &raw const schema::KEY_VALUE) && is_plain_text(inner_bytes) {
                    start = reader.position();
                    continue;
                }
                self.message(inner_bytes, inner, depth)
                    .map_err(|error| error.within(field.name, index_of(bytes, field, start)))?;
            } else {
                scalar(wire, field)?;
            }
            start = reader.position();
        }
        Ok(())
    }
}

/// Whether a `KeyValue` is a key and a text, written as every SDK writes them. Nine in ten attributes are; this reads them
/// several times faster than the tables do. What it does not recognise, the tables judge.
#[inline]
fn is_plain_text(key_value: &[u8]) -> bool {
    /// Length-delimited field 1: the key, or the text.
    const FIRST: u8 = 0x0a;
    /// Length-delimited field 2: the value.
    const SECOND: u8 = 0x12;
    /// Shorter than 128 bytes, so that one byte holds the length.
    fn short(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let [found, length @ ..0x80, rest @ ..] = bytes else { return None };
        if *found == tag { rest.split_at_checked(usize::from(*length)) } else { None }
    }
    let read = || {
        let (key, rest) = short(key_value, FIRST)?;
        let (value, []) = short(rest, SECOND)? else { return None };
        let (text, []) = short(value, FIRST)? else { return None };
        // UTF-8 beyond ASCII is left to the tables.
        (key.is_ascii() && text.is_ascii()).then_some(())
    };
    read().is_some()
}

/// Which one of a repeated field begins at `start`; looked up only when something is wrong.
#[cold]
fn index_of(bytes: &[u8], field: &Field, start: usize) -> Option<usize> {
    if field.label != Label::Repeated {
        return None;
    }
    let mut reader = Reader::new(bytes);
    let mut index = 0;
    while reader.position() < start {
        let (number, _) = reader.next().ok()??;
        if number == field.number {
            index += 1;
        }
    }
    Some(index)
}

#[inline]
fn scalar(wire: Wire<'_>, field: &Field) -> Result<(), DecodeError> {
    let number = field.number;
    let repeated = field.label == Label::Repeated;
    match field.kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => match wire {
            Wire::Bytes(packed) if repeated => {
                if packed.len() % 8 != 0 {
                    return Err(DecodeError::new(Problem::Packed { number, length_bytes: packed.len() }));
                }
            }
            _ => {
                wire.fixed64(number)?;
            }
        },
        Kind::Uint64 | Kind::Int64 | Kind::Uint32 | Kind::Int32 | Kind::Sint32 | Kind::Bool | Kind::Enum => {
            match wire {
                Wire::Bytes(packed) if repeated => {
                    let mut packed = Reader::new(packed);
                    while packed.next_packed_varint()?.is_some() {}
                }
                _ => {
                    wire.varint(number)?;
                }
            }
        }
        Kind::Fixed32 => {
            wire.fixed32(number)?;
        }
        Kind::String => {
            wire.str(number)?;
        }
        Kind::Bytes | Kind::Message(_) => {
            wire.bytes(number)?;
        }
        Kind::Id(length_bytes) => {
            wire.id(number, length_bytes)?;
        }
    }
    Ok(())
}
