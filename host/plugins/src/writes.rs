//! Calls to brokers outlive the guest that made them: once a write has begun, it ends, and its result is recorded,
//! whether or not somebody still waits for it.

use salve_model::call::{BoxFuture, CallError};
use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};

/// Longest wait for calls whose guest is gone. Brokers end theirs within this time.
const SETTLE: Duration = Duration::from_secs(30);

/// The call under way; a guest has one at most.
#[derive(Debug, Clone, Default)]
pub(crate) struct WritesInFlight(Arc<Mutex<Option<JoinHandle<()>>>>);

impl WritesInFlight {
    /// Makes a call on `broker`, where it goes on even if this future is dropped. Most answers are there at once: only a
    /// call that has to wait gets a task of its own, and with it two changes of thread.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        broker: &Handle,
        mut call: BoxFuture<'static, Result<R, CallError>>,
    ) -> Result<R, CallError> {
        let broken = || Err(CallError::Failed("the host's side of this call broke off".into()));
        let first = poll_fn(|context| {
            let _timers_and_sockets_are_the_brokers = broker.enter();
            Poll::Ready(catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))))
        });
        match first.await {
            Ok(Poll::Ready(answer)) => return answer,
            Ok(Poll::Pending) => {}
            Err(_) => return broken(),
        }
        let (sender, receiver) = oneshot::channel();
        let task = broker.spawn(async move {
            // The guest may be gone; then nobody listens, and the result stands in the ledger only.
            drop(sender.send(call.await));
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        receiver.await.unwrap_or_else(|_| broken())
    }

    /// Waits for a call whose guest is gone, so that what is asked afterwards is true.
    pub(crate) async fn settle(&self) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && !task.is_finished()
            && tokio::time::timeout(SETTLE, task).await.is_err()
        {
            tracing::error!("A broker's call goes on 30 s after its guest ended; its outcome is unknown.");
        }
    }
}
