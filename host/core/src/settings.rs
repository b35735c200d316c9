//! Guards and times of the core: the operator's words, as plain data.

use salve_model::mode::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Guards and times. Comes with `Event::Configured`, so that a replay has the settings that were in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How far Salve may go.
    pub mode: Mode,
    /// Time between two ticks, in milliseconds.
    pub tick_ms: u64,
    /// How long to wait after the first symptom for others before asking for the cause, in milliseconds.
    pub settle_ms: u64,
    /// How long to wait for telemetry after a restart before asking for the cause of an incident that was open, in
    /// milliseconds.
    pub resettle_ms: u64,
    /// Abnormal points in a row before a series becomes a symptom. 1: at once.
    pub confirm_points: u32,
    /// The same for what single detectors say, by the name of their binding; else `confirm_points`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub confirm_points_of: BTreeMap<String, u32>,
    /// Longest time between two of these points, in milliseconds: somewhat more than two steps of the slowest series.
    pub confirm_within_ms: u64,
    /// Most series of one tenant with abnormal points that are no symptom yet; beyond it the tenant's oldest is
    /// forgotten and counted.
    pub candidates_max: u32,
    /// Most calls between two services for their symptoms to belong to one incident. 0: the same service only.
    pub correlate_hops_max: u32,
    /// Normal points in a row before a symptom counts as recovered.
    pub recover_points: u32,
    /// An observation of a closed incident's series within this time reopens it, in milliseconds.
    pub reopen_ms: u64,
    /// Least time between the ends of two runs on one object, in milliseconds.
    pub cooldown_ms: u64,
    /// Most runs in `rate_window_ms`, over all targets. Where targets are of several tenants, one that would have had
    /// more runs than were left to all waits.
    pub rate_max: u32,
    /// Length of the rate window, in milliseconds.
    pub rate_window_ms: u64,
    /// Most objects under treatment at one time, over all incidents. Where targets are of several tenants, one that
    /// would have more of them than were free waits.
    pub blast_radius_objects_max: u32,
    /// Most objects under treatment at one time, as a share of all objects of all targets, in percent; one is always
    /// allowed.
    pub blast_radius_percent_max: u32,
    /// How long a plan waits for a guard that says "not now" before people are called, in milliseconds.
    pub guard_within_ms: u64,
    /// Most remedies for one incident before people are called.
    pub attempts_max: u32,
    /// How long to wait for symptoms to clear after a remedy, in milliseconds, if the plan's expectations give no
    /// longer time.
    pub verify_within_ms: u64,
    /// Longest time that a plan's expectations may ask for, in milliseconds: an action must not hold an incident open.
    pub verify_within_max_ms: u64,
    /// Least time between the end of a run and the word "healed", in milliseconds, so that late effects of the fault
    /// are seen. Somewhat longer than the longest time-out of callers and the way of telemetry together.
    pub verify_least_ms: u64,
    /// Least measured points on the symptom series before "cleared" can be said.
    pub verify_samples_min: u32,
    /// How long agents, policies and plans may take to answer, in milliseconds.
    pub answer_within_ms: u64,
    /// How long `execute` and `undo` may take to answer, in milliseconds.
    pub run_within_ms: u64,
    /// How long a plan waits for a person, in milliseconds.
    pub approval_within_ms: u64,
    /// Time before the policies are asked again after `wait`, in milliseconds.
    pub wait_ms: u64,
    /// Most open incidents of one tenant; beyond it, observations join the tenant's most recent one and are counted.
    pub incidents_open_max: u32,
    /// Most symptoms of one incident; beyond it they are counted.
    pub symptoms_max: u32,
    /// An incident of which nothing more is heard, neither good nor bad, is closed as unknown after this time, in
    /// milliseconds, once Salve has nothing more to do about it: the series of a service that was taken away never
    /// recover.
    pub silent_max_ms: u64,
    /// Closed incidents of one tenant that are remembered for `history`.
    pub history_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            tick_ms: 1_000,
            settle_ms: 15_000,
            resettle_ms: 30_000,
            confirm_points: 2,
            confirm_points_of: BTreeMap::new(),
            confirm_within_ms: 150_000,
            candidates_max: 10_000,
            correlate_hops_max: 2,
            recover_points: 3,
            reopen_ms: 120_000,
            cooldown_ms: 300_000,
            rate_max: 10,
            rate_window_ms: 3_600_000,
            blast_radius_objects_max: 3,
            blast_radius_percent_max: 50,
            guard_within_ms: 900_000,
            attempts_max: 3,
            verify_within_ms: 180_000,
            verify_within_max_ms: 1_800_000,
            verify_least_ms: 15_000,
            verify_samples_min: 3,
            answer_within_ms: 120_000,
            run_within_ms: 660_000,
            approval_within_ms: 3_600_000,
            wait_ms: 60_000,
            incidents_open_max: 100,
            symptoms_max: 200,
            silent_max_ms: 86_400_000,
            history_max: 200,
        }
    }
}

impl Settings {
    /// Abnormal points in a row before what this detector says of a series makes a symptom of it.
    pub(crate) fn confirm_points_by(&self, detector: &str) -> u32 {
        self.confirm_points_of.get(detector).copied().unwrap_or(self.confirm_points)
    }

    /// How long to wait for telemetry after a restart, in milliseconds.
    pub(crate) fn after_restart_ms(&self) -> u64 {
        self.resettle_ms.max(self.settle_ms)
    }
}
