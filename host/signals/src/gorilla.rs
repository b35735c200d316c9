//! Points in few bits: times as differences of differences, values as what changed in their bits.
//!
//! Source: T. Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database", PVLDB 8 (12), 2015, section
//! 4.1. It departs from it in the classes of time differences, which are chosen for milliseconds, and in that times and
//! values are exact for all 64 bits.
//!
//! ## What always holds
//! - what was put in comes out, bit for bit, whatever the times and values
//! - a block knows nothing of order or limits: [`crate::history`] does

/// Classes of differences of differences: prefix, its width, width of the number.
const CLASSES: [(u64, u32, u32); 4] = [(0b10, 2, 7), (0b110, 3, 12), (0b1110, 4, 20), (0b1_1110, 5, 32)];
/// Prefix and its width for any other difference, which follows in 64 bits.
const WIDE: (u64, u32) = (0b1_1111, 5);
/// Bytes by which a block grows: small, since most of the engine's memory are these blocks.
const GROWTH_BYTES: usize = 48;

/// Compressed points, in the order in which they were put in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    bits: u32,
    count: u32,
    state: State,
}

/// What both ends know before the next point.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    time: u64,
    delta: u64,
    value: u64,
    leading: u32,
    length: u32,
}

impl Block {
    /// Number of points.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Puts a point at the end.
    pub(crate) fn push(&mut self, time: u64, value: f64) {
        let value = value.to_bits();
        if self.count == 0 {
            self.put(time, 64);
            self.put(value, 64);
            self.state = State { time, delta: 0, value, leading: 0, length: 0 };
        } else {
            self.put_time(time);
            self.put_value(value);
        }
        self.count += 1;
    }

    fn put_time(&mut self, time: u64) {
        let delta = time.wrapping_sub(self.state.time);
        let change = delta.wrapping_sub(self.state.delta).cast_signed();
        self.state.time = time;
        self.state.delta = delta;
        if change == 0 {
            return self.put(0, 1);
        }
        for (prefix, prefix_width, width) in CLASSES {
            let half = 1_i64 << (width - 1);
            if (-half..half).contains(&change) {
                self.put(prefix, prefix_width);
                return self.put(change.cast_unsigned() & low_bits(width), width);
            }
        }
        self.put(WIDE.0, WIDE.1);
        self.put(change.cast_unsigned(), 64);
    }

    fn put_value(&mut self, value: u64) {
        let changed = value ^ self.state.value;
        self.state.value = value;
        if changed == 0 {
            return self.put(0, 1);
        }
        let leading = changed.leading_zeros().min(31);
        let trailing = changed.trailing_zeros();
        let window_trailing = 64 - self.state.leading - self.state.length;
        if self.state.length > 0 && leading >= self.state.leading && trailing >= window_trailing {
            self.put(0b10, 2);
            return self.put(changed >> window_trailing, self.state.length);
        }
        let length = 64 - leading - trailing;
        self.put(0b11, 2);
        self.put(leading.into(), 5);
        // 1 to 64 in six bits.
        self.put(u64::from(length - 1), 6);
        self.put(changed >> trailing, length);
        self.state.leading = leading;
        self.state.length = length;
    }

    /// Writes the lowest `width` bits of `value`, the highest of them first.
    fn put(&mut self, value: u64, width: u32) {
        let mut left = width;
        while left > 0 {
            let used = self.bits & 7;
            if used == 0 {
                if self.bytes.len() == self.bytes.capacity() {
                    self.bytes.reserve_exact(GROWTH_BYTES);
                }
                self.bytes.push(0);
            }
            let room = 8 - used;
            let take = room.min(left);
            let chunk = (value >> (left - take)) & low_bits(take);
            if let Some(last) = self.bytes.last_mut() {
                #[expect(clippy::cast_possible_truncation, reason = "at most eight bits")]
                let chunk = chunk as u8;
                *last |= chunk << (room - take);
            }
            self.bits += take;
            left -= take;
        }
    }

    /// All points, in the order in which they were put in.
    pub(crate) fn iter(&self) -> Points<'_> {
        Points { block: self, at: 0, left: self.count, state: State::default() }
    }

    /// The same points without the oldest ones, so that at most `keep` are left, in a buffer without slack.
    pub(crate) fn newest(&self, keep: usize) -> Self {
        let mut block = Self::default();
        block.bytes.reserve_exact(self.bytes.len() * keep.min(self.len()) / self.len().max(1));
        for (time, value) in self.iter().skip(self.len().saturating_sub(keep)) {
            block.push(time, value);
        }
        block
    }
}

impl FromIterator<(u64, f64)> for Block {
    fn from_iter<I: IntoIterator<Item = (u64, f64)>>(points: I) -> Self {
        let mut block = Self::default();
        for (time, value) in points {
            block.push(time, value);
        }
        block
    }
}

/// Reads a [`Block`].
#[derive(Debug)]
pub(crate) struct Points<'a> {
    block: &'a Block,
    at: u32,
    left: u32,
    state: State,
}

impl Points<'_> {
    fn take(&mut self, width: u32) -> u64 {
        let (mut value, mut left) = (0_u64, width);
        while left > 0 {
            let used = self.at & 7;
            let byte = u64::from(self.block.bytes.get((self.at >> 3) as usize).copied().unwrap_or(0));
            let room = 8 - used;
            let take = room.min(left);
            let chunk = (byte >> (room - take)) & low_bits(take);
            value = if take == 64 { chunk } else { (value << take) | chunk };
            self.at += take;
            left -= take;
        }
        value
    }

    fn take_time(&mut self) {
        let mut ones = 0;
        while ones < 5 && self.take(1) == 1 {
            ones += 1;
        }
        let change = match ones {
            0 => 0,
            5 => self.take(64),
            class => {
                let width = CLASSES.get(class - 1).map_or(64, |class| class.2);
                sign_extend(self.take(width), width)
            }
        };
        self.state.delta = self.state.delta.wrapping_add(change);
        self.state.time = self.state.time.wrapping_add(self.state.delta);
    }

    fn take_value(&mut self) {
        if self.take(1) == 0 {
            return;
        }
        if self.take(1) == 1 {
            #[expect(clippy::cast_possible_truncation, reason = "five and six bits")]
            let (leading, length) = (self.take(5) as u32, self.take(6) as u32 + 1);
            self.state.leading = leading;
            self.state.length = length;
        }
        let shift = 64 - self.state.leading - self.state.length;
        self.state.value ^= self.take(self.state.length) << shift;
    }
}

impl Iterator for Points<'_> {
    type Item = (u64, f64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        if self.left == self.block.count {
            self.state.time = self.take(64);
            self.state.value = self.take(64);
        } else {
            self.take_time();
            self.take_value();
        }
        self.left -= 1;
        Some((self.state.time, f64::from_bits(self.state.value)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

fn low_bits(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

fn sign_extend(value: u64, width: u32) -> u64 {
    let shift = 64 - width;
    ((value << shift).cast_signed() >> shift).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(points: &[(u64, u64)]) {
        let block: Block = points.iter().map(|(time, bits)| (*time, f64::from_bits(*bits))).collect();
        let back: Vec<(u64, u64)> = block.iter().map(|(time, value)| (time, value.to_bits())).collect();
        assert_eq!(back, points);
    }

    proptest! {
        /// Guarantees: whatever was put in comes out, bit for bit: NaN, infinities, -0, times in any order.
        #[test]
        fn decodes_what_it_encoded(points in prop::collection::vec((any::<u64>(), any::<u64>()), 0..200)) {
            same(&points);
        }

        /// Guarantees: the same for what is usual, which takes the short forms.
        #[test]
        fn decodes_regular_series(start in any::<u32>(), steps in prop::collection::vec((0_u64..200_000, -50_i32..50), 0..300)) {
            let mut time = u64::from(start);
            let points: Vec<_> = steps.iter().map(|(step, value)| {
                time += step;
                (time, (f64::from(*value) / 4.0).to_bits())
            }).collect();
            same(&points);
        }

        /// Guarantees: forgetting the oldest leaves the newest as they were.
        #[test]
        fn keeps_the_newest(values in prop::collection::vec(any::<f64>(), 0..100), keep in 0_usize..120) {
            let block: Block = values.iter().enumerate().map(|(index, value)| (index as u64, *value)).collect();
            let kept: Vec<u64> = block.newest(keep).iter().map(|(time, _)| time).collect();
            let expected: Vec<u64> = (0..values.len() as u64).skip(values.len().saturating_sub(keep)).collect();
            prop_assert_eq!(kept, expected);
        }
    }

    /// Guarantees: the edges of every class of time differences survive.
    #[test]
    fn edges_of_classes() {
        let mut points = vec![(0, 0)];
        let mut time = 0_u64;
        for change in [63_i64, 64, -64, -65, 2047, 2048, -2048, -2049, 524_287, 524_288, i64::MAX, i64::MIN] {
            time = time.wrapping_add(change.cast_unsigned());
            points.push((time, time));
        }
        same(&points);
    }

    /// Guarantees: what the engine's memory is planned with: noisy doubles about 7 bytes a point, flat ones next to none.
    #[test]
    fn sizes() {
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            (noise >> 11) as f64 / (1_u64 << 53) as f64
        };
        let noisy: Block = (0..120).map(|index| (index * 60_000, 100.0 + next())).collect();
        let flat: Block = (0..120).map(|index| (index * 60_000, 3.0)).collect();
        assert!(noisy.heap_bytes() < 120 * 8, "{}", noisy.heap_bytes());
        assert!(flat.heap_bytes() < 100, "{}", flat.heap_bytes());
    }
}
