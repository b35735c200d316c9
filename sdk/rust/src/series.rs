//! State of many series, found by their dense ids while the instance lives and by identity after a restart.
//!
//! ## What always holds
//! - finding a state by id is one index, without hashing
//! - a restored state waits until its series is added again; those that never come are dropped after
//!   [`WAIT_NS`] of the host's time
//! - a snapshot holds live and waiting states, so two restarts in a row lose nothing

use crate::{
    Batch, Series,
    codec::{Reader, Writer},
};
use std::collections::BTreeMap;

/// How long restored states wait for their series: one hour.
pub const WAIT_NS: u64 = 3_600_000_000_000;

/// How a state goes into a snapshot and comes back.
pub trait Persist: Sized {
    /// Appends itself.
    fn write(&self, to: &mut Writer);
    /// Takes itself.
    ///
    /// # Errors
    /// One sentence, if the bytes make no sense.
    fn read(from: &mut Reader<'_>) -> Result<Self, String>;
}

/// States by series id.
#[derive(Debug)]
pub struct SeriesTable<T> {
    slots: Vec<Option<Slot<T>>>,
    waiting: BTreeMap<u64, T>,
    /// Host time of the first batch after a restore.
    waiting_since: Option<u64>,
}

#[derive(Debug)]
struct Slot<T> {
    identity: u64,
    state: T,
}

impl<T> Default for SeriesTable<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), waiting: BTreeMap::new(), waiting_since: None }
    }
}

impl<T> SeriesTable<T> {
    /// Takes over the batch's `removed` and then its `added`; `create` makes the state of a series that is not known
    /// from a snapshot or from before, `adopt` fits a known state to the series as it is now.
    pub fn update(
        &mut self,
        batch: &Batch,
        mut create: impl FnMut(&Series) -> T,
        mut adopt: impl FnMut(&Series, &mut T),
    ) {
        for id in &batch.removed {
            if let Some(slot) = self.slots.get_mut(*id as usize) {
                *slot = None;
            }
        }
        for series in &batch.added {
            let identity = identity(series);
            let index = series.id as usize;
            if index >= self.slots.len() {
                self.slots.resize_with(index + 1, || None);
            }
            // A series is described again when its limit changes: what was learnt of it goes on.
            let again = self.slots[index].take_if(|slot| slot.identity == identity).map(|slot| slot.state);
            let state = match again.or_else(|| self.waiting.remove(&identity)) {
                Some(mut known) => {
                    adopt(series, &mut known);
                    known
                }
                None => create(series),
            };
            self.slots[index] = Some(Slot { identity, state });
        }
        if !self.waiting.is_empty() {
            let since = *self.waiting_since.get_or_insert(batch.now);
            if batch.now.saturating_sub(since) > WAIT_NS {
                self.waiting.clear();
            }
        }
    }

    /// The state of a series, if it was added.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&T> {
        Some(&self.slots.get(id as usize)?.as_ref()?.state)
    }

    /// The state of a series, if it was added.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        Some(&mut self.slots.get_mut(id as usize)?.as_mut()?.state)
    }

    /// All live series by id.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0u32..).zip(&mut self.slots).filter_map(|(id, slot)| Some((id, &mut slot.as_mut()?.state)))
    }

    /// Number of live series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Whether there is no live series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Persist> SeriesTable<T> {
    /// Appends all states with the identities of their series.
    pub fn write(&self, to: &mut Writer) {
        let live = self.slots.iter().flatten().map(|slot| (slot.identity, &slot.state));
        let waiting = self.waiting.iter().map(|(identity, state)| (*identity, state));
        for (identity, state) in live.chain(waiting) {
            to.u64(identity);
            state.write(to);
        }
    }

    /// Takes all states that are left in `from`; they wait for their series.
    ///
    /// # Errors
    /// The state's own, or if the bytes end early. The table is then as it was.
    pub fn read(&mut self, from: &mut Reader<'_>) -> Result<(), String> {
        let mut waiting = BTreeMap::new();
        while from.remaining() > 0 {
            waiting.insert(from.u64()?, T::read(from)?);
        }
        self.waiting = waiting;
        self.waiting_since = None;
        Ok(())
    }
}

/// Names a series across restarts: a hash of its name, unit and attributes in the order of their names.
///
/// FNV-1a (Fowler, Noll, Vo; 64 bits) with the finaliser of MurmurHash3: short, without keys, equal everywhere.
#[must_use]
pub fn identity(series: &Series) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |text: &str| {
        // 0xff is in no UTF-8 text, so that parts cannot run into each other.
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    feed(&series.name);
    feed(&series.unit);
    let mut attributes: Vec<_> = series.attributes.iter().collect();
    attributes.sort();
    for (name, value) in attributes {
        feed(name);
        feed(value);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
