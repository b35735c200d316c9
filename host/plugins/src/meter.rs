//! CPU time of guests, and the clock that looks at it.
//!
//! A call's CPU time is the thread's, summed over the polls of the call's future: what the guest waits for, and what
//! other threads or processes do meanwhile, is not in it. Asking for it is a system call of 2 µs, a tenth of a short call, so a
//! poll shorter than [`SHORT`] is taken for as long as it lasted. Guests are interrupted every [`TICK`] by wasmtime's epoch,
//! compare it with their budget, and let others run. What others took from the machine meanwhile ([`stolen`]) is added to the
//! budget, up to [`STOLEN_FACTOR_MAX`] times what it is.
//!
//! Not here: what the budgets are (`config`).

use crate::stolen;
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};
use wasmtime::Engine;

/// Time between two looks at a running guest.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// A budget grows by at most this many times what it is, so that no guest runs long on a machine that others take most of.
const STOLEN_FACTOR_MAX: u64 = 4;
/// Least time between two looks at what was stolen: each costs some 40 µs.
const STOLEN_EVERY: Duration = Duration::from_millis(100);

/// Polls and pauses shorter than this are told by the wall clock, which errs by at most as much.
const SHORT: Duration = Duration::from_micros(200);

thread_local! {
    /// When this thread's CPU time was last asked for, and what it was.
    static LAST: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
}

/// CPU time that the calling thread had used at `now`, or less than [`SHORT`] before.
fn recent_cpu_ns(now: Instant) -> u64 {
    match LAST.get() {
        Some((asked, cpu_ns)) if now.duration_since(asked) < SHORT => cpu_ns,
        _ => {
            let cpu_ns = thread_cpu_ns();
            LAST.set(Some((now, cpu_ns)));
            cpu_ns
        }
    }
}

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
    /// Stolen from the machine before the call began.
    stolen_before_ns: AtomicU64,
}

impl Meter {
    /// Starts a new call. `stolen_before_ns`: see [`Ticker::stolen_ns`].
    pub(crate) fn reset(&self, budget: Duration, stolen_before_ns: u64) {
        self.used_ns.store(0, Relaxed);
        self.stolen_before_ns.store(stolen_before_ns, Relaxed);
        self.budget_ns.store(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Whether the budget is used up. Only while polled, on the polling thread.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_exhausted_with(stolen::total_ns)
    }

    /// `stolen_ns` is asked only once the budget itself is used up.
    fn is_exhausted_with(&self, stolen_ns: impl FnOnce() -> u64) -> bool {
        let in_poll = thread_cpu_ns().saturating_sub(self.poll_began_ns.load(Relaxed));
        let used = self.used_ns.load(Relaxed).saturating_add(in_poll);
        let budget = self.budget_ns.load(Relaxed);
        let Some(over) = used.checked_sub(budget).filter(|over| *over > 0) else { return false };
        let stolen = stolen_ns().saturating_sub(self.stolen_before_ns.load(Relaxed));
        over > stolen.min(budget.saturating_mul(STOLEN_FACTOR_MAX))
    }

    /// CPU time of finished polls.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Relaxed))
    }

    /// `call`, with its CPU time counted.
    pub(crate) async fn measure<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        poll_fn(|context| {
            let began = Instant::now();
            let began_ns = recent_cpu_ns(began);
            self.poll_began_ns.store(began_ns, Relaxed);
            let answer = call.as_mut().poll(context);
            let ended = Instant::now();
            let took = ended.duration_since(began);
            let used_ns = if took < SHORT {
                u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
            } else {
                recent_cpu_ns(ended).saturating_sub(began_ns)
            };
            self.used_ns.fetch_add(used_ns, Relaxed);
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
    /// See [`Ticker::stolen_ns`].
    stolen_ns: AtomicU64,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared =
            Arc::new(TickerShared { stolen_ns: stolen::total_ns().into(), ..TickerShared::default() });
        let engine = engine.weak();
        let of_thread = shared.clone();
        let handle = thread::Builder::new().name("salve-epoch".into()).spawn(move || {
            let mut looked = Instant::now();
            while !of_thread.stop.load(SeqCst) {
                if of_thread.running.load(SeqCst) == 0 {
                    thread::park();
                    continue;
                }
                if looked.elapsed() >= STOLEN_EVERY {
                    of_thread.stolen_ns.store(stolen::total_ns(), Relaxed);
                    looked = Instant::now();
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

    /// What others took from the machine, as it was known a little ago.
    pub(crate) fn stolen_ns(&self) -> u64 {
        self.shared.stolen_ns.load(Relaxed)
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
        meter.reset(Duration::from_millis(5), 0);
        meter.measure(tokio::time::sleep(Duration::from_millis(30))).await;
        assert!(meter.used() < Duration::from_millis(5), "{:?}", meter.used());

        let exhausted = meter
            .measure(async {
                let mut turns = 0_u64;
                while !meter.is_exhausted_with(|| 0) {
                    turns = std::hint::black_box(turns + 1);
                }
                turns
            })
            .await;
        assert!(exhausted > 0);
        assert!(meter.used() >= Duration::from_millis(5));
    }

    /// Guarantees: what was stolen since the call began is added to the budget, what was stolen before is not, and never more than
    /// some times the budget.
    #[tokio::test]
    async fn what_others_take_is_not_the_guests() {
        let budget = Duration::from_millis(5);
        let until = async |stolen_before_ns: u64, stolen_ns: u64| {
            let meter = Meter::default();
            meter.reset(budget, stolen_before_ns);
            meter
                .measure(async {
                    while !meter.is_exhausted_with(|| stolen_ns) {
                        std::hint::black_box(());
                    }
                })
                .await;
            meter.used()
        };
        let second_ns = 1_000_000_000;
        assert!(until(second_ns, second_ns + 10_000_000).await >= 3 * budget);
        assert!(until(second_ns, second_ns).await >= budget);
        assert!(until(0, 3_600 * second_ns).await >= 5 * budget, "and it ends");
    }
}
