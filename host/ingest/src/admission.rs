//! Room for requests: how many at once, and how many bytes of them in memory.
//!
//! Nobody waits for room while holding some, which could stop everybody: a request that finds none is refused at once and
//! told when to come back.

use crate::IngestConfig;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The shared bounds.
#[derive(Debug)]
pub(crate) struct Admission {
    requests: AtomicU64,
    requests_max: u64,
    bytes: AtomicU64,
    bytes_max: u64,
    retry_after_ms: u64,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    /// When the sender may come again.
    pub(crate) retry_after_ms: u64,
}

/// The room that one request takes up. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    bytes: u64,
}

impl Admission {
    pub(crate) fn new(config: &IngestConfig) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicU64::new(0),
            requests_max: config.requests_in_flight_max,
            bytes: AtomicU64::new(0),
            bytes_max: config.bytes_in_flight_max,
            retry_after_ms: config.retry_after_ms,
        })
    }

    /// Room for one more request, without bytes yet.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Permit, Full> {
        self.add(&self.requests, 1, self.requests_max)?;
        Ok(Permit { admission: self.clone(), bytes: 0 })
    }

    fn add(&self, counter: &AtomicU64, amount: u64, max: u64) -> Result<(), Full> {
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
                value.checked_add(amount).filter(|sum| *sum <= max)
            })
            .map(drop)
            .map_err(|_| Full { retry_after_ms: self.retry_after_ms })
    }

    /// Requests in flight.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// Room for `bytes` more.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        self.admission.add(&self.admission.bytes, bytes, self.admission.bytes_max)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.admission.bytes.fetch_sub(surplus, Ordering::Relaxed);
        self.bytes -= surplus;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.admission.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Guarantees: whatever is asked for, bounds hold, and all room is given back in the end.
        #[test]
        fn bounds_hold_and_room_returns(steps in proptest::collection::vec((0..4u8, 0..150u64), 0..60)) {
            let admission = Admission::new(&IngestConfig {
                requests_in_flight_max: 4,
                bytes_in_flight_max: 200,
                ..IngestConfig::default()
            });
            let mut permits: Vec<Permit> = Vec::new();
            for (step, bytes) in steps {
                match (step, permits.last_mut()) {
                    (0, _) => permits.extend(admission.enter().ok()),
                    (1, Some(permit)) => drop(permit.grow(bytes)),
                    (2, Some(permit)) => permit.shrink_to(bytes),
                    (_, _) => drop(permits.pop()),
                }
                prop_assert!(admission.requests() <= 4 && admission.bytes() <= 200);
                prop_assert_eq!(admission.requests(), permits.len() as u64);
                prop_assert_eq!(admission.bytes(), permits.iter().map(|permit| permit.bytes).sum::<u64>());
            }
            drop(permits);
            prop_assert_eq!((admission.requests(), admission.bytes()), (0, 0));
        }
    }
}
