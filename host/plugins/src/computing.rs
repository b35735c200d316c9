//! CPU time, shared fairly between plugins whose calls compute for long.
//!
//! ## What always holds
//! - of one plugin, at most as many calls as there are guest threads compute on beyond a tick at one time; its other calls
//!   wait for their turn, in order
//! - so however many calls a plugin makes, another plugin's calls find the threads as if it made only those few
//! - who waits for the host keeps nobody from computing
//!
//! Not here: how much CPU time a call may use (`meter`), and how many calls there may be (`turns`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One call's leave to compute beyond its first tick.
#[derive(Debug, Clone)]
pub(crate) struct Computing {
    of_plugin: Arc<Semaphore>,
    leave: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Computing {
    /// `of_plugin` is shared by all calls of a plugin.
    pub(crate) fn new(of_plugin: &Arc<Semaphore>) -> Self {
        Self { of_plugin: of_plugin.clone(), leave: Arc::default() }
    }

    /// Lets another call of the plugin compute.
    pub(crate) fn let_go(&self) {
        drop(self.leave.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// At a tick: lets others run, and waits until it may go on.
    pub(crate) async fn pass_on(self) {
        // With its leave still in hand: the next call of its own plugin comes after those of others, not before.
        let_others_run().await;
        self.let_go();
        // Fails only if the semaphore is closed, which nobody does.
        let leave = self.of_plugin.acquire_owned().await.ok();
        *self.leave.lock().unwrap_or_else(PoisonError::into_inner) = leave;
    }
}

/// Ends once all that could run when it began have had a turn on this thread.
///
/// Tokio's `yield_now` wakes its task only when the thread has nothing else to do: beside calls that compute without end, a
/// plugin would have one turn for each round of another plugin's calls, however many they are.
async fn let_others_run() {
    let mut is_woken = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_woken, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How many calls of one plugin compute on at one time.
pub(crate) fn of_plugin(guest_threads: Option<usize>) -> Arc<Semaphore> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(guest_threads.unwrap_or_else(cores).max(1)))
}
