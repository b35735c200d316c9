//! Bytes of detector snapshots: little-endian numbers, one after the other.

/// Writes a snapshot.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

/// Reads a snapshot. Bytes may come from a broken disk, so every read can fail.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

macro_rules! numbers {
    ($($number:ident),+) => {
        impl Writer {
            $(
                /// Appends the number.
                pub fn $number(&mut self, value: $number) {
                    self.0.extend_from_slice(&value.to_le_bytes());
                }
            )+
        }

        impl Reader<'_> {
            $(
                /// Takes the next number.
                ///
                /// # Errors
                /// If the snapshot ends before it.
                pub fn $number(&mut self) -> Result<$number, String> {
                    self.take().map($number::from_le_bytes)
                }
            )+
        }
    };
}
numbers!(u8, u16, u32, u64, f32, f64);

impl Writer {
    /// An empty snapshot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes written so far.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl<'a> Reader<'a> {
    /// Reads from the beginning.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Takes the next number, which must be finite.
    ///
    /// # Errors
    /// If the snapshot ends before it, or if it is NaN or infinite.
    pub fn finite(&mut self) -> Result<f64, String> {
        let value = self.f64()?;
        if value.is_finite() {
            Ok(value)
        } else {
            Err("the snapshot holds a number that is not finite".into())
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or("the snapshot ends too early")?;
        self.0 = rest;
        Ok(*head)
    }
}
