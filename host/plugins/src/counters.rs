//! What each plugin did and cost, as numbers.

use crate::error::GuestErrorKind;
use serde::Serialize;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Writes the list of counters once, for the atomics and for what is read from them.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts of one plugin since it was loaded.
        #[derive(Debug, Default)]
        pub(crate) struct PluginCounters { $(pub(crate) $name: AtomicU64,)+ }

        /// Counts of one plugin at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct Counters { $($(#[doc = $doc])+ pub $name: u64,)+ }

        impl PluginCounters {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Calls into guests.
    calls_total,
    /// Calls that gave no answer through the guest's fault, limits included.
    faults_total,
    /// Of these: traps that are no limit's.
    traps_total,
    /// Of these: values that break the component model's rules.
    bad_values_total,
    /// Of these: memory.
    memory_limit_hits_total,
    /// Of these: table elements.
    table_limit_hits_total,
    /// Of these: core instances, memories, tables.
    instance_limit_hits_total,
    /// Of these: CPU time.
    cpu_limit_hits_total,
    /// Of these: time from start to end.
    wall_clock_limit_hits_total,
    /// Of these: calls to the host.
    host_call_limit_hits_total,
    /// Of these: bytes handed over.
    output_limit_hits_total,
    /// Of these: bytes of state.
    snapshot_limit_hits_total,
    /// Of these: stack.
    stack_limit_hits_total,
    /// Calls that were not made, since the plugin is in quarantine.
    quarantine_refusals_total,
    /// Instances made.
    instances_total,
    /// Instances that are there now.
    instances_live,
    /// Calls from guests to the host, those to the log not counted.
    host_calls_total,
    /// Calls of verbs that the manifest does not name; refused.
    unrequested_calls_total,
    /// Log lines.
    log_lines_total,
    /// Log lines dropped for being over the limit.
    log_lines_dropped_total,
    /// Observations and proposals thrown away for making no sense.
    refused_values_total,
    /// Series that were set aside for making the detector trap.
    series_set_aside_total,
    /// Most linear memory of any instance, in bytes.
    memory_peak_bytes,
    /// Instructions of all calls, as wasmtime counts fuel; 0 unless `count_fuel` is set.
    fuel_total,
    /// CPU time of all calls, in microseconds.
    cpu_us_total,
    /// Time of all calls from start to end, in microseconds.
    wall_clock_us_total,
}

impl PluginCounters {
    /// Counts one finished call.
    pub(crate) fn call(&self, wall_clock: Duration, cpu: Duration, memory_peak_bytes: u64) {
        add(&self.calls_total, 1);
        add(&self.wall_clock_us_total, u64::try_from(wall_clock.as_micros()).unwrap_or(u64::MAX));
        add(&self.cpu_us_total, u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX));
        self.memory_peak_bytes.fetch_max(memory_peak_bytes, Relaxed);
    }

    /// Counts a failure under its kind.
    pub(crate) fn failure(&self, kind: &GuestErrorKind) {
        if kind.is_fault() {
            add(&self.faults_total, 1);
        }
        let counter = match kind {
            GuestErrorKind::Trap { .. } => &self.traps_total,
            GuestErrorKind::BadValue { .. } => &self.bad_values_total,
            GuestErrorKind::Memory { .. } => &self.memory_limit_hits_total,
            GuestErrorKind::Tables { .. } => &self.table_limit_hits_total,
            GuestErrorKind::Instances { .. } => &self.instance_limit_hits_total,
            GuestErrorKind::Cpu { .. } => &self.cpu_limit_hits_total,
            GuestErrorKind::WallClock { .. } => &self.wall_clock_limit_hits_total,
            GuestErrorKind::HostCalls { .. } => &self.host_call_limit_hits_total,
            GuestErrorKind::Output { .. } => &self.output_limit_hits_total,
            GuestErrorKind::Snapshot { .. } => &self.snapshot_limit_hits_total,
            GuestErrorKind::Stack => &self.stack_limit_hits_total,
            GuestErrorKind::Quarantined { .. } => &self.quarantine_refusals_total,
            _ => return,
        };
        add(counter, 1);
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}
