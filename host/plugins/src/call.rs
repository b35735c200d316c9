//! One call of an agent or action: a fresh instance, on a guest thread, within its limits.

use crate::{
    counters::add,
    error::{GuestError, GuestErrorKind},
    guest::{self, Budget, GuestState},
    host::{HostInner, Plugin},
    writes::WritesInFlight,
};
use salve_model::{
    Tenant,
    call::{BoxFuture, Session, Telemetry},
};
use std::{sync::Arc, time::Instant};
use tokio::task::JoinHandle;
use wasmtime::{Store, component::Instance};

/// What a call may reach.
#[derive(Clone)]
pub(crate) struct Reach {
    /// The incident's id.
    pub(crate) context: String,
    /// Whose incident it is.
    pub(crate) tenant: Tenant,
    pub(crate) telemetry: Arc<dyn Telemetry>,
    pub(crate) session: Option<Arc<dyn Session>>,
    /// Unix nanoseconds.
    pub(crate) now_ns: u64,
}

/// Cancels a guest whose caller is gone.
struct CancelOnDrop<R>(JoinHandle<R>);

impl<R> Drop for CancelOnDrop<R> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls `run` with a fresh instance. `run` gives wasmtime's error for a guest that trapped.
///
/// # Errors
/// [`GuestError`]; broker calls under way have ended by then.
pub(crate) async fn fresh<R, F>(
    host: &Arc<HostInner>,
    plugin: &Arc<Plugin>,
    call: &'static str,
    reach: Reach,
    run: F,
) -> Result<R, GuestError>
where
    R: Send + 'static,
    F: for<'a> FnOnce(&'a mut Store<GuestState>, Instance) -> BoxFuture<'a, wasmtime::Result<R>>
        + Send
        + 'static,
{
    plugin.check_quarantine(call)?;
    let turn = host.calls.take(&reach.tenant, plugin.name()).await;
    let turn = turn.ok_or_else(|| plugin.error(call, GuestErrorKind::Stopping))?;
    let broker = tokio::runtime::Handle::current();
    let writes = WritesInFlight::default();
    let of_guest = (host.clone(), plugin.clone(), writes.clone());
    let mut task = CancelOnDrop(host.guests.spawn(async move {
        let (host, plugin, writes) = of_guest;
        let _turn = turn;
        let mut state = GuestState::new(plugin.identity.clone(), reach.context, host.logs.clone());
        state.telemetry = Some(reach.telemetry);
        state.session = reach.session;
        state.now_ns = reach.now_ns;
        state.broker = Some(broker);
        state.writes = writes;
        state.computing = Some(plugin.identity.computing.of(&reach.tenant));
        // Boxed here: a task is moved several times before it runs, and this future is large.
        Box::pin(run_in(&host, &plugin, state, run)).await
    }));
    let ended = (&mut task.0).await;
    writes.settle().await;
    match ended {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kind)) => {
            plugin.blame(&kind);
            Err(plugin.error(call, kind))
        }
        Err(error) if error.is_panic() => {
            // A bug in the host; the guest may have found it, so it counts against it.
            let kind = GuestErrorKind::Trap { reason: "the host's side of the call panicked".into() };
            plugin.identity.counters.failure(&kind);
            plugin.blame(&kind);
            Err(plugin.error(call, kind))
        }
        Err(_) => Err(plugin.error(call, GuestErrorKind::Stopping)),
    }
}

/// On the guest thread.
async fn run_in<R, F>(
    host: &HostInner,
    plugin: &Plugin,
    state: GuestState,
    run: F,
) -> Result<R, GuestErrorKind>
where
    F: for<'a> FnOnce(&'a mut Store<GuestState>, Instance) -> BoxFuture<'a, wasmtime::Result<R>>,
{
    let began = Instant::now();
    let budget = Budget::of(&plugin.identity.limits);
    let mut store = guest::new_store(&host.engine, state);
    let meter = guest::begin(&mut store, &host.ticker, &budget);
    let ended = guest::supervise(&host.ticker, &meter, &budget, async {
        add(&plugin.identity.counters.instances_total, 1);
        let instance = plugin.pre.instantiate_async(&mut store).await?;
        run(&mut store, instance).await
    })
    .await;
    guest::end(&mut store, &budget, began, ended)
}
