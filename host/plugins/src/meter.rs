//! CPU time of guests, and the clock that looks at it.
//!
//! A call's CPU time is the thread's, summed over the polls of the call's future: what the guest waits for, and what
//! other threads or processes do meanwhile, is not in it. Guests are interrupted every [`TICK`] by wasmtime's epoch,
//! compare it with their budget, and let others run.
//!
//! Not here: what the budgets are (`config`).

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::Duration,
};
use wasmtime::Engine;

/// Time between two looks at a running guest.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// CPU time that the calling thread has used.
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// CPU time of one call. Written by one thread at a time, the one that polls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Of finished polls.
    used_ns: AtomicU64,
    /// The thread's CPU time when the present poll began.
    poll_began_ns: AtomicU64,
    budget_ns: AtomicU64,
}

impl Meter {
    /// Starts a new call.
    pub(crate) fn reset(&self, budget: Duration) {
        self.used_ns.store(0, Relaxed);
        self.budget_ns.store(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Whether the budget is used up. Only while polled, on the polling thread.
    pub(crate) fn is_exhausted(&self) -> bool {
        let in_poll = thread_cpu_ns().saturating_sub(self.poll_began_ns.load(Relaxed));
        self.used_ns.load(Relaxed).saturating_add(in_poll) > self.budget_ns.load(Relaxed)
    }

    /// CPU time of finished polls.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Relaxed))
    }

    /// `call`, with its CPU time counted.
    pub(crate) async fn measure<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        poll_fn(|context| {
            let began = thread_cpu_ns();
            self.poll_began_ns.store(began, Relaxed);
            let answer = call.as_mut().poll(context);
            self.used_ns.fetch_add(thread_cpu_ns().saturating_sub(began), Relaxed);
            answer
        })
        .await
    }
}

/// Advances the engine's epoch every [`TICK`] while any guest runs, and sleeps while none does.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<TickerShared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct TickerShared {
    running: AtomicUsize,
    stop: AtomicBool,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(TickerShared::default());
        let engine = engine.weak();
        let of_thread = shared.clone();
        let handle = thread::Builder::new().name("salve-epoch".into()).spawn(move || {
            while !of_thread.stop.load(SeqCst) {
                if of_thread.running.load(SeqCst) == 0 {
                    thread::park();
                    continue;
                }
                thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Ticks at least until the guard is dropped.
    pub(crate) fn run(&self) -> TickGuard<'_> {
        if self.shared.running.fetch_add(1, SeqCst) == 0 {
            self.thread.unpark();
        }
        TickGuard(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// See [`Ticker::run`].
#[derive(Debug)]
pub(crate) struct TickGuard<'a>(&'a TickerShared);

impl Drop for TickGuard<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: waiting costs nothing, computing does.
    #[tokio::test]
    async fn waiting_is_free() {
        let meter = Meter::default();
        meter.reset(Duration::from_millis(5));
        meter.measure(tokio::time::sleep(Duration::from_millis(30))).await;
        assert!(meter.used() < Duration::from_millis(5), "{:?}", meter.used());

        let exhausted = meter
            .measure(async {
                let mut turns = 0_u64;
                while !meter.is_exhausted() {
                    turns = std::hint::black_box(turns + 1);
                }
                turns
            })
            .await;
        assert!(exhausted > 0);
        assert!(meter.used() >= Duration::from_millis(5));
    }
}
