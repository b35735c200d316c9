//! OTLP in JSON, written out as protobuf while it is read.
//!
//! There is no tree in between, so memory stays near the length of the input whatever the JSON holds. Numbers of 64 bits
//! may be strings, ids are hexadecimal, bytes are base64, enumerations are numbers, `null` is absence, and unknown fields
//! are skipped.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding> and
//! <https://protobuf.dev/programming-guides/json/>.

use crate::export::Rejection;
use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use salve_otlp::schema::{Field, Kind, Label, Message};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};
use std::fmt;

/// The encoded `message` that `json` describes, at most `bytes_max` long. Not checked yet: ids and nesting are the check's.
pub(crate) fn to_protobuf(
    json: &[u8],
    message: &'static Message,
    bytes_max: u64,
) -> Result<Vec<u8>, Rejection> {
    let mut output = Output {
        bytes: Vec::new(),
        limit: usize::try_from(bytes_max).unwrap_or(usize::MAX),
        exceeded: false,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = Fields { message, output: &mut output }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match read {
        Ok(()) => Ok(output.bytes),
        Err(_) if output.exceeded => Err(Rejection::TooLarge { bytes_max }),
        Err(error) => Err(Rejection::malformed("JSON", &error)),
    }
}

struct Output {
    bytes: Vec<u8>,
    limit: usize,
    exceeded: bool,
}

impl Output {
    fn check<E: Error>(&mut self) -> Result<(), E> {
        self.exceeded = self.bytes.len() > self.limit;
        if self.exceeded { Err(E::custom("too long")) } else { Ok(()) }
    }

    fn varint<E: Error>(&mut self, number: u32, value: u64) -> Result<(), E> {
        encode_key(number, WireType::Varint, &mut self.bytes);
        encode_varint(value, &mut self.bytes);
        self.check()
    }

    fn fixed64<E: Error>(&mut self, number: u32, value: u64) -> Result<(), E> {
        encode_key(number, WireType::SixtyFourBit, &mut self.bytes);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self.check()
    }

    fn fixed32<E: Error>(&mut self, number: u32, value: u32) -> Result<(), E> {
        encode_key(number, WireType::ThirtyTwoBit, &mut self.bytes);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self.check()
    }

    fn bytes<E: Error>(&mut self, number: u32, value: &[u8]) -> Result<(), E> {
        encode_key(number, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(value.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(value);
        self.check()
    }

    /// Writes an embedded message: what `write` writes, with its length put before it.
    fn message<E: Error>(
        &mut self,
        number: u32,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        encode_key(number, WireType::LengthDelimited, &mut self.bytes);
        let start = self.bytes.len();
        write(self)?;
        let end = self.bytes.len();
        let length = (end - start) as u64;
        encode_varint(length, &mut self.bytes);
        // The length stands behind the message now; turn the two around.
        if let Some(both) = self.bytes.get_mut(start..) {
            both.rotate_right(encoded_len_varint(length));
        }
        self.check()
    }
}

/// The fields of one JSON object.
struct Fields<'a> {
    message: &'static Message,
    output: &'a mut Output,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of type {}", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Name(self.message))? {
            match field {
                Some(field) => map.next_value_seed(Content {
                    field,
                    repeated: field.label == Label::Repeated,
                    output: self.output,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Finds the field that a key names.
struct Name(&'static Message);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.fields.iter().find(|field| is_json_name(field.name, key)))
    }
}

/// Whether `key` is `name` in lowerCamelCase.
fn is_json_name(name: &str, key: &str) -> bool {
    let mut key = key.bytes();
    let mut upper = false;
    for byte in name.bytes() {
        if byte == b'_' {
            upper = true;
            continue;
        }
        let expected = if upper { byte.to_ascii_uppercase() } else { byte };
        upper = false;
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}

/// The content of a field, or of one of its elements.
struct Content<'a> {
    field: &'static Field,
    repeated: bool,
    output: &'a mut Output,
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Content<'_> {
    fn integer<E: Error>(self, value: i128) -> Result<(), E> {
        let number = self.field.number;
        let range = || E::invalid_value(Unexpected::Other("a number out of range"), &self);
        match self.field.kind {
            #[expect(clippy::cast_precision_loss, reason = "JSON numbers are doubles by nature")]
            Kind::Double => self.output.fixed64(number, (value as f64).to_bits()),
            Kind::Fixed64 => {
                let value = u64::try_from(value).map_err(|_| range())?;
                self.output.fixed64(number, value)
            }
            Kind::Sfixed64 => {
                let value = i64::try_from(value).map_err(|_| range())?;
                self.output.fixed64(number, value.cast_unsigned())
            }
            Kind::Uint64 => {
                let value = u64::try_from(value).map_err(|_| range())?;
                self.output.varint(number, value)
            }
            Kind::Int64 => {
                let value = i64::try_from(value).map_err(|_| range())?;
                self.output.varint(number, value.cast_unsigned())
            }
            Kind::Fixed32 => {
                let value = u32::try_from(value).map_err(|_| range())?;
                self.output.fixed32(number, value)
            }
            Kind::Uint32 => {
                let value = u32::try_from(value).map_err(|_| range())?;
                self.output.varint(number, u64::from(value))
            }
            Kind::Int32 | Kind::Enum => {
                let value = i32::try_from(value).map_err(|_| range())?;
                // Negative numbers take all 64 bits on the wire.
                self.output.varint(number, i64::from(value).cast_unsigned())
            }
            Kind::Sint32 => {
                let value = i32::try_from(value).map_err(|_| range())?;
                self.output.varint(number, u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()))
            }
            Kind::Bool | Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => {
                Err(E::invalid_type(Unexpected::Other("a number"), &self))
            }
        }
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field.kind {
            _ if self.repeated => "an array",
            Kind::Double => "a number, `NaN` or `Infinity`",
            Kind::Fixed64 | Kind::Uint64 => "an unsigned number of 64 bits",
            Kind::Sfixed64 | Kind::Int64 => "a whole number of 64 bits",
            Kind::Fixed32 | Kind::Uint32 => "an unsigned number of 32 bits",
            Kind::Int32 | Kind::Sint32 => "a whole number of 32 bits",
            Kind::Bool => "true or false",
            Kind::Enum => "the number of an enumeration",
            Kind::String => "text",
            Kind::Bytes => "text in base64",
            Kind::Id(_) => "text in hexadecimal",
            Kind::Message(_) => "an object",
        };
        write!(f, "{what} in `{}`", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match (self.field.kind, self.repeated) {
            (Kind::Bool, false) => self.output.varint(self.field.number, u64::from(value)),
            _ => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        if self.repeated {
            Err(E::invalid_type(Unexpected::Unsigned(value), &self))
        } else {
            self.integer(value.into())
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        if self.repeated {
            Err(E::invalid_type(Unexpected::Signed(value), &self))
        } else {
            self.integer(value.into())
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.field.kind {
            _ if self.repeated => Err(E::invalid_type(Unexpected::Float(value), &self)),
            Kind::Double => self.output.fixed64(self.field.number, value.to_bits()),
            // Whole numbers may be written as 1e9.
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 64 bits")]
            _ if value.fract() == 0.0 && value.abs() < 1e19 => self.integer(value as i128),
            _ => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.repeated {
            return Err(E::invalid_type(Unexpected::Str(text), &self));
        }
        let number = self.field.number;
        let bytes = match self.field.kind {
            Kind::String => return self.output.bytes(number, text.as_bytes()),
            Kind::Double => {
                let value = match text {
                    "NaN" => Some(f64::NAN),
                    "Infinity" => Some(f64::INFINITY),
                    "-Infinity" => Some(f64::NEG_INFINITY),
                    _ => text.parse::<f64>().ok().filter(|value| value.is_finite()),
                };
                let value = value.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?;
                return self.output.fixed64(number, value.to_bits());
            }
            Kind::Id(_) => hexadecimal(text),
            Kind::Bytes => base64(text),
            // The specification takes numbers only.
            Kind::Enum | Kind::Bool | Kind::Message(_) => {
                return Err(E::invalid_type(Unexpected::Str(text), &self));
            }
            _ => {
                let value =
                    text.parse::<i128>().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
                return self.integer(value);
            }
        };
        let bytes = bytes.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?;
        self.output.bytes(number, &bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        if !self.repeated {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        while let Some(()) = sequence.next_element_seed(Content {
            field: self.field,
            repeated: false,
            output: &mut *self.output,
        })? {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.field.kind {
            Kind::Message(message) if !self.repeated => {
                self.output.message(self.field.number, |output| Fields { message, output }.visit_map(map))
            }
            _ => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

/// Both alphabets, with and without padding, as protobuf asks of readers.
fn base64(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

#[cfg(test)]
mod tests;
