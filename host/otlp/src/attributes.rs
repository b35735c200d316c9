//! Attributes and repeated numbers, decoded while they are read.

use crate::{
    Attributes, Numbers, SummaryPoint, Value,
    error::DecodeError,
    hash::Hasher,
    wire::{Reader, Wire},
};

impl<'a> Attributes<'a> {
    /// The encoded `KeyValue` messages, in the order of the wire. Ends early where the bytes are malformed, which
    /// cannot happen once they were checked.
    pub fn encoded(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut reader, field) = (Reader::new(self.message), self.field);
        std::iter::from_fn(move || {
            while let Ok(Some((number, value))) = reader.next() {
                if let (true, Wire::Bytes(bytes)) = (number == field, value) {
                    return Some(bytes);
                }
            }
            None
        })
    }

    /// Keys and values, in the order of the wire. A key may come more than once; OTLP forbids it and nothing enforces it.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        self.encoded().map_while(|bytes| key_value(bytes).ok())
    }

    /// The first value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.iter().find(|(candidate, _)| *candidate == key).map(|(_, value)| value)
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.encoded().next().is_none()
    }

    /// A hash of the encoded attributes, equal for equal bytes, stable across restarts and versions.
    ///
    /// **Order matters**: the same attributes in another order have another hash. SDKs keep the order of a series, so
    /// this names a series within one sender cheaply; where the order may differ, sort first. Distinct sets collide with
    /// probability 2⁻⁶⁴ by chance, but a sender can construct collisions among its own.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        let mut hasher = Hasher::new();
        for bytes in self.encoded() {
            hasher.chunk(bytes);
        }
        hasher.finish()
    }

    /// True if both have the same bytes in the same order: what equal [`Attributes::hash64`] suggests.
    #[must_use]
    pub fn same_bytes(&self, other: &Attributes<'_>) -> bool {
        self.encoded().eq(other.encoded())
    }
}

impl<'a> Value<'a> {
    /// The text, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads one `KeyValue`. Without a value, or with one of an unknown type, it is [`Value::Empty`].
pub(crate) fn key_value(message: &[u8]) -> Result<(&str, Value<'_>), DecodeError> {
    let (mut key, mut value) = ("", Value::Empty);
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => key = wire.str(1)?,
            2 => value = any_value(wire.bytes(2)?)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Reads one `AnyValue`; arrays and maps stay encoded.
pub(crate) fn any_value(message: &[u8]) -> Result<Value<'_>, DecodeError> {
    let mut value = Value::Empty;
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next()? {
        value = match number {
            1 => Value::String(wire.str(1)?),
            2 => Value::Bool(wire.varint(2)? != 0),
            3 => Value::Int(wire.varint(3)?.cast_signed()),
            4 => Value::Double(wire.double(4)?),
            5 | 6 => Value::Composite(wire.bytes(number)?),
            7 => Value::Bytes(wire.bytes(7)?),
            _ => continue,
        };
    }
    Ok(value)
}

impl<'a> Numbers<'a> {
    /// Whole numbers, for bucket counts.
    pub fn iter_u64(&self) -> impl Iterator<Item = u64> + use<'a> {
        let (mut reader, field, varint) = (Reader::new(self.message), self.field, self.varint);
        let mut packed = Reader::new(&[]);
        std::iter::from_fn(move || {
            loop {
                let next = if varint { packed.next_packed_varint() } else { packed.next_packed_fixed64() };
                if let Ok(Some(value)) = next {
                    return Some(value);
                }
                match reader.next().ok()?? {
                    (number, Wire::Bytes(bytes)) if number == field => packed = Reader::new(bytes),
                    (number, Wire::Varint(value) | Wire::Fixed64(value)) if number == field => {
                        return Some(value);
                    }
                    _ => {}
                }
            }
        })
    }

    /// Floating point numbers, for explicit bounds.
    pub fn iter_f64(&self) -> impl Iterator<Item = f64> + use<'a> {
        self.iter_u64().map(f64::from_bits)
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter_u64().next().is_none()
    }
}

impl<'a> SummaryPoint<'a> {
    /// Pairs of quantile (0 to 1) and value, in the order of the wire.
    pub fn quantiles(&self) -> impl Iterator<Item = (f64, f64)> + use<'a> {
        const QUANTILE_VALUES: u32 = 6;
        let mut reader = Reader::new(self.message);
        std::iter::from_fn(move || {
            while let Ok(Some((number, wire))) = reader.next() {
                if let (QUANTILE_VALUES, Wire::Bytes(bytes)) = (number, wire) {
                    return quantile_value(bytes).ok();
                }
            }
            None
        })
    }
}

fn quantile_value(message: &[u8]) -> Result<(f64, f64), DecodeError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => quantile = wire.double(1)?,
            2 => value = wire.double(2)?,
            _ => {}
        }
    }
    Ok((quantile, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue, any_value},
        resource::v1::Resource,
    };
    use proptest::prelude::*;
    use prost::Message;

    fn encoded(pairs: &[(String, i64)]) -> Vec<u8> {
        let attributes = pairs.iter().map(|(key, value)| {
            let value = Some(AnyValue { value: Some(any_value::Value::IntValue(*value)) });
            KeyValue { key: key.clone(), value, ..KeyValue::default() }
        });
        Resource { attributes: attributes.collect(), ..Resource::default() }.encode_to_vec()
    }

    fn pairs() -> impl Strategy<Value = Vec<(String, i64)>> {
        proptest::collection::vec(("[ab]{0,2}", 0..3i64), 0..4)
    }

    proptest! {
        /// Guarantees: hashes agree exactly where bytes do, wherever in a message the attributes lie; `get` finds the
        /// first of a key.
        #[test]
        fn hashes_agree_with_bytes(left in pairs(), right in pairs()) {
            let (left_bytes, mut right_bytes) = (encoded(&left), encoded(&right));
            // A dropped_attributes_count behind them is not theirs.
            right_bytes.extend([0x10, 7]);
            let left_attributes = Attributes { message: &left_bytes, field: 1 };
            let right_attributes = Attributes { message: &right_bytes, field: 1 };
            prop_assert_eq!(left_attributes.same_bytes(&right_attributes), left == right);
            prop_assert_eq!(left_attributes.hash64() == right_attributes.hash64(), left == right);
            for key in ["", "a", "ab"] {
                let expected = left.iter().find(|(candidate, _)| candidate == key).map(|(_, value)| Value::Int(*value));
                prop_assert_eq!(left_attributes.get(key), expected);
            }
        }
    }
}
