//! Connections that are open: how many there may be, since when each does nothing, and which makes room for another.
//!
//! ## What always holds
//! - there are at most as many as configured
//! - whoever holds connections open and sends nothing that is taken does not keep others out: when there is no room, the idlest of
//!   theirs is closed, and only if there are none of theirs the idlest of all
//! - a connection with a request under way is not closed for another, nor one that did nothing for less than a second: whoever
//!   opens more than all connections within one does keep others out

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// A connection that has done nothing for less makes no room: its request may be on the way.
const IDLE_LEAST: Duration = Duration::from_secs(1);
/// How long a new connection waits for the idlest to be closed, which that does at its next turn.
const ROOM_WITHIN: Duration = Duration::from_millis(100);

/// Those that are open.
pub(crate) struct Connections {
    max: u32,
    /// One permit for each connection that may still be opened.
    room: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, Arc<Activity>>,
}

impl Connections {
    pub(crate) fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { max, room: Arc::new(Semaphore::new(max as usize)), open: Mutex::default() })
    }

    /// A place for one more, for which another connection may have to leave; `None` if none can.
    pub(crate) async fn place(self: &Arc<Self>) -> Option<Place> {
        let room = match self.room.clone().try_acquire_owned() {
            Ok(room) => room,
            Err(_) => {
                self.idlest()?.leave.notify_one();
                timeout(ROOM_WITHIN, self.room.clone().acquire_owned()).await.ok()?.ok()?
            }
        };
        let activity = Arc::new(Activity::new());
        let mut open = self.open();
        let id = open.next;
        open.next += 1;
        open.all.insert(id, activity.clone());
        drop(open);
        Some(Place { id, activity, connections: self.clone(), _room: room })
    }

    /// Ends when none is open. Nobody asks for a place any more.
    pub(crate) async fn all_closed(&self) {
        // The semaphore is never closed.
        drop(self.room.acquire_many(self.max).await);
    }

    /// The one that is to leave; it is asked once.
    fn idlest(&self) -> Option<Arc<Activity>> {
        let open = self.open();
        let can_leave = open.all.values().filter_map(|activity| {
            let current = activity.current();
            let idle =
                current.requests == 0 && !current.is_leaving && current.idle_since.elapsed() >= IDLE_LEAST;
            idle.then_some(((current.was_welcome, current.idle_since), activity))
        });
        let (_, idlest) = can_leave.min_by_key(|(rank, _)| *rank)?;
        idlest.current().is_leaving = true;
        Some(idlest.clone())
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among those that are open.
pub(crate) struct Place {
    id: u64,
    pub(crate) activity: Arc<Activity>,
    connections: Arc<Connections>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().all.remove(&self.id);
    }
}

/// Whether a connection is used, and since when not.
pub(crate) struct Activity {
    current: Mutex<Use>,
    leave: Notify,
}

struct Use {
    requests: u64,
    began: bool,
    /// A request was taken: its sender is known, if senders must be.
    was_welcome: bool,
    is_leaving: bool,
    idle_since: Instant,
}

/// A request under way.
pub(crate) struct Active(Arc<Activity>);

impl Active {
    /// The request was taken.
    pub(crate) fn is_welcome(&self) {
        self.0.current().was_welcome = true;
    }
}

impl Activity {
    fn new() -> Self {
        let current = Use {
            requests: 0,
            began: false,
            was_welcome: false,
            is_leaving: false,
            idle_since: Instant::now(),
        };
        Self { current: Mutex::new(current), leave: Notify::new() }
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        let mut current = self.current();
        current.requests += 1;
        current.began = true;
        current.is_leaving = false;
        Active(self.clone())
    }

    /// Whether there ever was a request.
    pub(crate) fn began(&self) -> bool {
        self.current().began
    }

    /// Since when there is no request; `None` while there is one.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let current = self.current();
        (current.requests == 0).then_some(current.idle_since)
    }

    /// Ends when the connection is to make room for another, unless a request has come meanwhile.
    pub(crate) async fn asked_to_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.current().is_leaving {
                return;
            }
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Use> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut current = self.0.current();
        current.requests -= 1;
        current.idle_since = Instant::now();
    }
}
