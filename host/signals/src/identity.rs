//! Who a series is: lasting keys, shared resources, attributes in one piece of memory.

use crate::config::SignalsConfig;
use salve_model::{Attributes, Tenant, pattern::matches, telemetry::SeriesKey};
use salve_otlp::Value;
use sha2::{Digest, Sha256};
use std::{collections::HashSet, fmt::Write, sync::Arc};

/// Longest text of one attribute that is kept, in bytes.
const VALUE_BYTES_MAX: usize = 1_024;

/// Where telemetry comes from, shared by all series of a resource; without `service.name` among the attributes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tenant: Tenant,
    pub(crate) service: Arc<str>,
    pub(crate) attributes: Attributes,
    /// Lasting name, from all attributes as they came.
    pub(crate) key: u64,
}

impl Origin {
    /// The origin of what is derived for a whole service: it has no attributes.
    pub(crate) fn of_service(tenant: &Tenant, service: &Arc<str>) -> Self {
        let key = KeyHasher::new(tenant).text(service).finish().0;
        Self { tenant: tenant.clone(), service: service.clone(), attributes: Attributes::new(), key }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.service.len() + attributes_bytes(&self.attributes)
    }
}

/// Roughly what an ordered map of short texts takes.
fn attributes_bytes(attributes: &Attributes) -> usize {
    attributes.iter().map(|(key, value)| 2 * size_of::<String>() + key.len() + value.len() + 24).sum()
}

/// Makes [`SeriesKey`]s: the first eight bytes, little-endian, of SHA-256 over the parts, each with its length before it
/// as eight bytes. Stands in ledgers, so it never changes.
#[derive(Clone)]
pub(crate) struct KeyHasher(Sha256);

impl KeyHasher {
    pub(crate) fn new(tenant: &Tenant) -> Self {
        Self(Sha256::new()).text(&tenant.0)
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        self.add(text.as_bytes());
        self
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        self.add(&number.to_le_bytes());
        self
    }

    pub(crate) fn pairs(mut self, pairs: &[(&str, String)]) -> Self {
        self.add(&(pairs.len() as u64).to_le_bytes());
        for (name, value) in pairs {
            self.add(name.as_bytes());
            self.add(value.as_bytes());
        }
        self
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> SeriesKey {
        let digest = self.0.finalize();
        SeriesKey(digest.iter().take(8).rev().fold(0, |key, byte| (key << 8) | u64::from(*byte)))
    }
}

/// Stands where a private value stood.
const REDACTED: &str = "[redacted]";

/// Attributes as text, by name, without those that make no series, and without private values. Of a name that comes
/// twice the first counts. Every attribute that is kept comes through here.
pub(crate) fn readable<'a>(
    attributes: impl Iterator<Item = (&'a str, Value<'a>)>,
    config: &SignalsConfig,
) -> Vec<(&'a str, String)> {
    let is_private = |name: &str| config.redact_attributes.iter().any(|pattern| matches(pattern, name));
    let mut pairs: Vec<(&str, String)> = attributes
        .filter(|(name, _)| !config.drop_attributes.iter().any(|dropped| dropped == name))
        .map(|(name, value)| (name, if is_private(name) { REDACTED.into() } else { text_of(value) }))
        .collect();
    pairs.sort_by(|left, right| left.0.cmp(right.0));
    pairs.dedup_by(|later, first| later.0 == first.0);
    pairs
}

/// A value as text. Bytes, arrays and maps are written as the hexadecimal digits of their encoding.
fn text_of(value: Value<'_>) -> String {
    match value {
        Value::String(text) => text.into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bytes(bytes) | Value::Composite(bytes) => {
            bytes.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string cannot fail.
                write!(text, "{byte:02x}").unwrap_or_default();
                text
            })
        }
        Value::Empty => String::new(),
    }
}

/// Leaves out what goes beyond `bytes_max`, and the ends of long values; true if it did.
pub(crate) fn cut(pairs: &mut Vec<(&str, String)>, bytes_max: usize) -> bool {
    let mut was_cut = false;
    for (_, value) in pairs.iter_mut().filter(|(_, value)| value.len() > VALUE_BYTES_MAX) {
        value.truncate(value.floor_char_boundary(VALUE_BYTES_MAX));
        value.push('…');
        was_cut = true;
    }
    let mut bytes = 0;
    let before = pairs.len();
    pairs.retain(|(name, value)| {
        bytes += name.len() + value.len();
        bytes <= bytes_max
    });
    was_cut || pairs.len() < before
}

/// Attributes of a point in one piece of memory, shared by all series made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedAttributes(Arc<[u8]>);

impl PackedAttributes {
    /// Name and value after each other, each after its length as four bytes, little-endian.
    pub(crate) fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut bytes = Vec::new();
        for text in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
            // Bounded far below by `attribute_bytes_max`.
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Self(bytes.into())
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        let mut text = move || {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let (text, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = tail;
            std::str::from_utf8(text).ok()
        };
        std::iter::from_fn(move || Some((text()?, text()?)))
    }

    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.len() + 2 * size_of::<usize>()
    }
}

/// Texts that many series share, each once.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// The one copy of `text`.
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(text) {
            return shared.clone();
        }
        let shared: Arc<str> = text.into();
        self.0.insert(shared.clone());
        shared
    }

    /// Forgets texts that nobody has any more.
    pub(crate) fn sweep(&mut self) {
        self.0.retain(|text| Arc::strong_count(text) > 1);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.iter().map(|text| text.len() + 4 * size_of::<usize>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Guarantees: attributes come out as they went in.
        #[test]
        fn packing_keeps_all(pairs in prop::collection::vec((".{0,20}", ".{0,20}"), 0..8)) {
            let packed = PackedAttributes::new(pairs.iter().map(|(name, value)| (&**name, &**value)));
            let back: Vec<(String, String)> = packed.iter().map(|(name, value)| (name.into(), value.into())).collect();
            prop_assert_eq!(back, pairs);
        }
    }

    /// Guarantees: keys stand in ledgers, so they may never change; and lengths keep parts from running together.
    #[test]
    fn keys_stay_the_same() {
        let tenant = Tenant::default();
        let key = KeyHasher::new(&tenant).text("checkout").pairs(&[("a", "1".into())]).finish();
        insta::assert_snapshot!(format!("{:016x}", key.0), @"2e114f90160adf24");
        assert_ne!(
            KeyHasher::new(&tenant).text("ab").text("c").finish(),
            KeyHasher::new(&tenant).text("a").text("bc").finish()
        );
    }

    /// Guarantees: order does not matter, dropped names neither, of two values the first counts, and private ones are hidden
    /// whatever their type.
    #[test]
    fn readable_attributes() {
        let pairs = [
            ("z", Value::Int(3)),
            ("process.pid", Value::Int(9)),
            ("a", Value::String("x")),
            ("a", Value::String("y")),
            ("b", Value::Bytes(&[1, 255])),
            ("user.id", Value::Int(31_415)),
        ];
        let config = SignalsConfig {
            drop_attributes: vec!["process.pid".into()],
            redact_attributes: vec!["user.*".into()],
            ..SignalsConfig::default()
        };
        let text = readable(pairs.into_iter(), &config);
        let expected = [("a", "x"), ("b", "01ff"), ("user.id", "[redacted]"), ("z", "3")];
        assert_eq!(text, expected.map(|(name, value)| (name, value.to_owned())));
    }

    /// Guarantees: long values and many attributes are cut, at a character.
    #[test]
    fn cuts() {
        let mut pairs = vec![("a", "ä".repeat(1_000)), ("b", "x".repeat(600)), ("c", "y".repeat(600))];
        assert!(cut(&mut pairs, 2_000));
        assert_eq!(
            pairs.iter().map(|(name, value)| (*name, value.len())).collect::<Vec<_>>(),
            [("a", 1_027), ("b", 600)]
        );
        assert!(!cut(&mut vec![("a", "b".into())], 2));
    }
}
