//! A bounded number of requests at a time; the others wait for a moment and are then turned away.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Worker slots; their number can change while requests run.
pub(crate) struct WorkerSlots {
    slots: RwLock<(usize, Arc<Semaphore>)>,
    waiting: AtomicU64,
}

/// All slots stayed taken for the whole time that a request may wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overloaded;

impl WorkerSlots {
    /// `workers`: slots, at least one.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        let workers = workers.max(1);
        Arc::new(Self {
            slots: RwLock::new((workers, Arc::new(Semaphore::new(workers)))),
            waiting: AtomicU64::new(0),
        })
    }

    /// Changes the number of slots. Requests that run keep the slot they have, so for a moment there can be more.
    pub(crate) fn resize(&self, workers: usize) {
        let workers = workers.max(1);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.0 != workers {
            *slots = (workers, Arc::new(Semaphore::new(workers)));
        }
    }

    /// Takes a slot, and gives it back when it is dropped.
    ///
    /// # Errors
    /// [`Overloaded`] if none was free for `patience`.
    pub(crate) async fn take(&self, patience: Duration) -> Result<OwnedSemaphorePermit, Overloaded> {
        let slots = Arc::clone(&self.slots.read().unwrap_or_else(PoisonError::into_inner).1);
        if let Ok(permit) = Arc::clone(&slots).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::count(&self.waiting);
        match tokio::time::timeout(patience, slots.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Overloaded),
        }
    }

    /// Slots that are taken now.
    pub(crate) fn busy(&self) -> u64 {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.0.saturating_sub(slots.1.available_permits()) as u64
    }

    /// Requests that wait for a slot.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Counts one waiting request for as long as it lives, also if the request is given up.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: not more requests than slots; who waits too long is turned away; more slots help at once.
    #[tokio::test]
    async fn bounds_requests() {
        let slots = WorkerSlots::new(2);
        let patience = Duration::from_millis(10);
        let first = slots.take(patience).await.unwrap();
        let _second = slots.take(patience).await.unwrap();
        assert_eq!(slots.busy(), 2);
        assert_eq!(slots.take(patience).await.unwrap_err(), Overloaded);
        drop(first);
        let _third = slots.take(patience).await.unwrap();
        slots.resize(3);
        let _fourth = slots.take(patience).await.unwrap();
        assert_eq!((slots.busy(), slots.waiting()), (1, 0));
    }
}
