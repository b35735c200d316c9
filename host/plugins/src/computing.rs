//! CPU time, shared fairly between tenants and plugins whose calls compute for long.
//!
//! ## What always holds
//! - of one plugin for one tenant, at most as many calls as there are guest threads compute on beyond a tick at one time; its
//!   other calls wait for their turn, in order
//! - so however many calls a plugin makes, another plugin's calls, and its own for another tenant, find the threads as if it
//!   made only those few
//! - who waits for the host keeps nobody from computing
//!
//! Not here: how much CPU time a call may use (`meter`), and how many calls there may be (`turns`).

use salve_model::Tenant;
use std::{
    collections::BTreeMap,
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

/// One plugin's leaves to compute, for each tenant that it has worked for. Tenants are the operator's, and few.
#[derive(Debug)]
pub(crate) struct Shares {
    guest_threads: usize,
    of_tenants: Mutex<BTreeMap<Tenant, Arc<Semaphore>>>,
}

impl Shares {
    pub(crate) fn new(guest_threads: usize) -> Self {
        Self { guest_threads, of_tenants: Mutex::default() }
    }

    /// For a call of the plugin on behalf of this tenant.
    pub(crate) fn of(&self, tenant: &Tenant) -> Computing {
        let mut of_tenants = self.of_tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let of_plugin = of_tenants
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.guest_threads)))
            .clone();
        Computing { of_plugin, leave: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a tenant that computes with all calls of a plugin that may leaves another tenant's calls of it their own
    /// leave, at once.
    #[test]
    fn each_tenant_has_its_own_leaves() {
        let shares = Shares::new(2);
        let (greedy, other) = (Tenant("greedy".into()), Tenant("other".into()));
        let take = |tenant| shares.of(tenant).of_plugin.try_acquire_owned();
        let taken = [take(&greedy).unwrap(), take(&greedy).unwrap()];
        assert!(take(&greedy).is_err());
        assert!(take(&other).is_ok());
        drop(taken);
        assert!(take(&greedy).is_ok());
    }
}
