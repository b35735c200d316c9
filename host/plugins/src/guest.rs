//! One guest instance's side of the host: what it has used up, and how its failures are told apart.

use crate::{
    computing::{Computing, Shares},
    config::Limits,
    counters::{PluginCounters, add},
    error::GuestErrorKind,
    guest_log::{GuestLogLevel, LogBudget, LogSink},
    manifest::Manifest,
    meter::{Meter, TICK, Ticker},
    writes::WritesInFlight,
};
use salve_model::{
    call::{Session, Telemetry},
    text::escape,
};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::{ResourceLimiter, Store, Trap, UpdateDeadline};

/// What a guest can reach, and what it has used up. The data of its store.
pub(crate) struct GuestState {
    pub(crate) plugin: Arc<PluginIdentity>,
    /// The incident's id, or the detector binding's name.
    pub(crate) context: String,
    pub(crate) logs: Arc<dyn LogSink>,
    pub(crate) log_budget: LogBudget,
    pub(crate) telemetry: Option<Arc<dyn Telemetry>>,
    pub(crate) session: Option<Arc<dyn Session>>,
    /// Where the session's calls run.
    pub(crate) broker: Option<tokio::runtime::Handle>,
    pub(crate) writes: WritesInFlight,
    /// Shares the guest threads with other calls of the plugin for the tenant; none on a thread of its own.
    pub(crate) computing: Option<Computing>,
    /// The guest's clock stood at this when the call began, Unix nanoseconds ...
    pub(crate) now_ns: u64,
    /// ... which was then.
    pub(crate) began: tokio::time::Instant,
    limiter: Limiter,
    meter: Arc<Meter>,
    host_calls: u64,
    /// The limit that ended the call, if it was one that this host counts itself.
    limit_hit: Option<GuestErrorKind>,
    cpu_limit_ms: u64,
    output_limit: GuestErrorKind,
    _live: Live,
}

/// Counts an instance while it is there.
struct Live(Arc<PluginIdentity>);

impl Live {
    fn new(plugin: &Arc<PluginIdentity>) -> Self {
        add(&plugin.counters.instances_live, 1);
        Self(plugin.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.counters.instances_live.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// What all instances of a plugin share.
pub(crate) struct PluginIdentity {
    pub(crate) manifest: Manifest,
    pub(crate) digest: String,
    pub(crate) limits: Limits,
    pub(crate) counters: PluginCounters,
    /// Shared by all its calls, see [`Computing`].
    pub(crate) computing: Shares,
    /// See `HostConfig`.
    pub(crate) virtual_clock: bool,
    /// See `HostConfig`.
    pub(crate) count_fuel: bool,
}

/// Ends a guest from within a host call or an epoch tick.
#[derive(Debug, thiserror::Error)]
#[error("a limit of this plugin is used up")]
struct LimitHit;

impl GuestState {
    pub(crate) fn new(plugin: Arc<PluginIdentity>, context: String, logs: Arc<dyn LogSink>) -> Self {
        let limits = plugin.limits;
        Self {
            _live: Live::new(&plugin),
            context,
            logs,
            log_budget: LogBudget::default(),
            telemetry: None,
            session: None,
            broker: None,
            writes: WritesInFlight::default(),
            computing: None,
            now_ns: 0,
            began: tokio::time::Instant::now(),
            limiter: Limiter::new(&limits),
            meter: Arc::new(Meter::default()),
            host_calls: 0,
            limit_hit: None,
            cpu_limit_ms: 0,
            output_limit: GuestErrorKind::Output { limit_bytes: 0 },
            plugin,
        }
    }

    /// Counts a call to the host.
    pub(crate) fn count_host_call(&mut self) -> wasmtime::Result<()> {
        if let Some(computing) = &self.computing {
            computing.let_go();
        }
        let limit = self.plugin.limits.host_calls;
        self.host_calls += 1;
        if self.host_calls > limit {
            self.limit_hit = Some(GuestErrorKind::HostCalls { limit });
            return Err(wasmtime::Error::new(LimitHit));
        }
        Ok(())
    }

    /// Writes a line, or counts it as dropped.
    pub(crate) fn log(&mut self, level: GuestLogLevel, message: &str, fields: &[(String, String)]) {
        let name = &self.plugin.manifest.name.0;
        if let Some(line) = self.log_budget.line(name, &self.context, level, message, fields) {
            self.logs.write(line);
        }
    }
}

/// What a call may cost and hand over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) cpu_ms: u64,
    pub(crate) wall_clock_ms: u64,
    pub(crate) output_bytes: u64,
    /// What passing `output_bytes` is called.
    pub(crate) output_is_snapshot: bool,
}

impl Budget {
    /// Of a main call.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            cpu_ms: limits.cpu_ms,
            wall_clock_ms: limits.wall_clock_ms,
            output_bytes: limits.output_bytes,
            output_is_snapshot: false,
        }
    }

    /// Of making a detector ready.
    pub(crate) fn of_setup(limits: &Limits) -> Self {
        Self { cpu_ms: limits.cpu_setup_ms, ..Self::of(limits) }
    }

    /// Of a snapshot.
    pub(crate) fn of_snapshot(limits: &Limits) -> Self {
        Self { output_bytes: limits.snapshot_bytes, output_is_snapshot: true, ..Self::of_setup(limits) }
    }
}

/// A store with all limits in force.
pub(crate) fn new_store(engine: &wasmtime::Engine, state: GuestState) -> Store<GuestState> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.epoch_deadline_callback(|mut context| {
        let state = context.data_mut();
        if state.meter.is_exhausted() {
            state.limit_hit = Some(GuestErrorKind::Cpu { limit_ms: state.cpu_limit_ms });
            return Err(wasmtime::Error::new(LimitHit));
        }
        // Other guests of this thread get their turn, and the wall clock is looked at.
        Ok(match &state.computing {
            Some(computing) => UpdateDeadline::YieldCustom(1, Box::pin(computing.clone().pass_on())),
            None => UpdateDeadline::Yield(1),
        })
    });
    store
}

/// Starts counting for a call. What follows until [`end`] is one call.
pub(crate) fn begin(store: &mut Store<GuestState>, ticker: &Ticker, budget: &Budget) -> Arc<Meter> {
    let limit_bytes = budget.output_bytes;
    let fuel = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    store.set_hostcall_fuel(fuel);
    store.set_epoch_deadline(1);
    if store.data().plugin.count_fuel {
        // Only counted: what limits a call is its CPU time.
        drop(store.set_fuel(u64::MAX));
    }
    let state = store.data_mut();
    state.host_calls = 0;
    state.limit_hit = None;
    state.limiter.refused = None;
    state.log_budget = LogBudget::new(state.plugin.limits.log_bytes);
    state.began = tokio::time::Instant::now();
    state.cpu_limit_ms = budget.cpu_ms;
    state.output_limit = if budget.output_is_snapshot {
        GuestErrorKind::Snapshot { limit_bytes }
    } else {
        GuestErrorKind::Output { limit_bytes }
    };
    state.meter.reset(Duration::from_millis(budget.cpu_ms), ticker.stolen_ns());
    state.meter.clone()
}

/// How a call ended, before it is known why.
pub(crate) type Ended<R> = Result<wasmtime::Result<R>, tokio::time::error::Elapsed>;

/// Lets a guest run, at most as long as `budget` allows.
pub(crate) async fn supervise<R>(
    ticker: &Ticker,
    meter: &Meter,
    budget: &Budget,
    call: impl Future<Output = wasmtime::Result<R>>,
) -> Ended<R> {
    let _ticking = ticker.run();
    // A guest that never waits is interrupted at ticks; the wall clock is looked at then, hence the tick on top.
    let wall_clock = Duration::from_millis(budget.wall_clock_ms).saturating_add(TICK);
    tokio::time::timeout(wall_clock, meter.measure(call)).await
}

/// Finishes a call: counts it, and says why it gave no answer.
pub(crate) fn end<R>(
    store: &mut Store<GuestState>,
    budget: &Budget,
    began: Instant,
    ended: Ended<R>,
) -> Result<R, GuestErrorKind> {
    let fuel_left = if store.data().plugin.count_fuel { store.get_fuel().ok() } else { None };
    let state = store.data_mut();
    let plugin = state.plugin.clone();
    let counters = &plugin.counters;
    if let Some(left) = fuel_left {
        add(&counters.fuel_total, u64::MAX - left);
    }
    counters.call(began.elapsed(), state.meter.used(), state.limiter.memory_peak_bytes);
    add(&counters.host_calls_total, state.host_calls);
    let LogBudget { lines, dropped, .. } = state.log_budget;
    add(&counters.log_lines_total, lines);
    add(&counters.log_lines_dropped_total, dropped);
    if dropped > 0 {
        tracing::warn!(
            plugin = %plugin.manifest.name, context = %state.context, dropped,
            limit_bytes = plugin.limits.log_bytes, "Plugin logs more than its limit; lines were dropped."
        );
    }
    let answer = match ended {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(classify(state, &error)),
        Err(_) => Err(GuestErrorKind::WallClock { limit_ms: budget.wall_clock_ms }),
    };
    if let Err(kind) = &answer {
        counters.failure(kind);
    }
    answer
}

/// Tells failures apart: first by what the host itself counted, then by wasmtime's types, and last by its words, where
/// it has no types (tests hold those words fast).
fn classify(state: &mut GuestState, error: &wasmtime::Error) -> GuestErrorKind {
    let limits = &state.plugin.limits;
    if let Some(hit) = state.limit_hit.take() {
        return hit;
    }
    if let Some(pool) = error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>() {
        return GuestErrorKind::Busy { reason: pool.to_string() };
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::StackOverflow) {
        return GuestErrorKind::Stack;
    }
    match state.limiter.refused.take() {
        Some(Refused::Memory) => return GuestErrorKind::Memory { limit_bytes: limits.memory_bytes },
        Some(Refused::Table) => return GuestErrorKind::Tables { limit: limits.table_elements },
        None => {}
    }
    let words = format!("{error:#}");
    if trap.is_none() {
        if words.contains("fuel allocated for hostcalls has been exhausted") {
            return state.output_limit.clone();
        }
        if words.contains("resource limit exceeded") {
            return GuestErrorKind::Instances { limit: limits.core_instances };
        }
        return GuestErrorKind::BadValue { reason: first_line(&words) };
    }
    GuestErrorKind::Trap { reason: trap.map(ToString::to_string).unwrap_or_else(|| first_line(&words)) }
}

/// Backtraces are long, and partly the guest's own words.
fn first_line(words: &str) -> String {
    let line = words.lines().last().unwrap_or_default();
    escape(line.trim(), 200)
}

/// Which growth was refused.
#[derive(Debug, Clone, Copy)]
enum Refused {
    Memory,
    Table,
}

/// Memory and tables of all of an instance's modules, counted together.
#[derive(Debug)]
struct Limiter {
    memory_limit_bytes: usize,
    memory_bytes: usize,
    memory_peak_bytes: u64,
    table_limit: usize,
    table_elements: usize,
    instances: usize,
    /// What was added last, to take back if wasmtime then cannot grow.
    last_memory_bytes: usize,
    last_table_elements: usize,
    refused: Option<Refused>,
}

impl Limiter {
    fn new(limits: &Limits) -> Self {
        let number = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            memory_limit_bytes: number(limits.memory_bytes),
            memory_bytes: 0,
            memory_peak_bytes: 0,
            table_limit: number(limits.table_elements),
            table_elements: 0,
            instances: number(limits.core_instances),
            last_memory_bytes: 0,
            last_table_elements: 0,
            refused: None,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current);
        let total = self.memory_bytes.saturating_add(grown);
        if total > self.memory_limit_bytes {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_bytes = total;
        self.last_memory_bytes = grown;
        self.memory_peak_bytes = self.memory_peak_bytes.max(u64::try_from(total).unwrap_or(u64::MAX));
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_bytes = self.memory_bytes.saturating_sub(std::mem::take(&mut self.last_memory_bytes));
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current);
        let total = self.table_elements.saturating_add(grown);
        if total > self.table_limit {
            self.refused = Some(Refused::Table);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = total;
        self.last_table_elements = grown;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table_elements =
            self.table_elements.saturating_sub(std::mem::take(&mut self.last_table_elements));
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}
