//! What a component costs: loading, an instance, a call, memory, instructions.
//!
//! Times are the caller's: handing over to the guest's thread and the answers of the paper world or recording are in
//! them. Instructions are counted on an engine of their own, since counting slows guests down.

use crate::{
    TemporaryFolder,
    trial::{self, Answers, Call, Conditions, Request, Trial, TrialError, Unwatched, WorldSeries},
};
use salve_plugins::{GuestLogLine, LogSink};
use serde::Serialize;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Calls before anything is measured.
const WARM_UP: usize = 20;
/// Loads from the cache of compiled components.
const LOADS: usize = 20;
/// Calls whose instructions are counted.
const FUEL_CALLS: u64 = 10;

/// What is measured, and how long.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The component.
    pub component: &'a Path,
    /// Which call.
    pub call: Call,
    /// What it is asked.
    pub request: &'a Request,
    /// Recorded host calls, if a recording answers.
    pub recorded: Option<Vec<crate::trial::HostCall>>,
    /// Most calls.
    pub calls_max: usize,
    /// Longest time for each row.
    pub within: Duration,
}

/// The figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// Which call was made.
    pub call: Call,
    /// Size of the component.
    pub size_bytes: usize,
    /// First load, compilation included, in microseconds.
    pub load_cold_us: f64,
    /// Later loads.
    pub load_cached_us: Quantiles,
    /// A fresh instance, without a call.
    pub instantiate_us: Quantiles,
    /// A call: for actions and agents with its fresh instance, for detectors one batch on an instance that lives.
    pub call_us: Quantiles,
    /// Calls to the host in one call, those to the log left out.
    pub host_calls: f64,
    /// Most linear memory of any instance.
    pub memory_peak_bytes: u64,
    /// Instructions of one call, as wasmtime counts fuel; for a detector the mean over the batches.
    pub fuel: u64,
}

/// Times in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub samples: usize,
    /// Half are faster.
    pub p50: f64,
    /// All but one in a hundred are faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Quantiles {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |share: usize| {
            let index = (samples.len() * share / 100).min(samples.len().saturating_sub(1));
            samples.get(index).copied().map(us).unwrap_or_default()
        };
        Self { samples: samples.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

fn us(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 10.0
}

/// A measured plugin's lines would cost more than what is measured.
struct NoLogs;

impl LogSink for NoLogs {
    fn write(&self, _line: GuestLogLine) {}
}

/// Measures.
///
/// # Errors
/// [`TrialError`]; [`TrialError::Failing`] if the call does not go well, since the cost of failing is not the question.
pub async fn measure(plan: &Plan<'_>) -> Result<Figures, TrialError> {
    let compiled = TemporaryFolder::new("salve-bench")
        .map_err(|source| TrialError::Write { path: std::env::temp_dir(), source })?;
    let config = trial::host_config(compiled.path().to_owned());
    let trial = Trial::load(plan.component, config.clone(), Arc::new(NoLogs))?;
    let load_cold_us = us(trial.plugin().stats().elapsed);
    let mut loads = Vec::new();
    for _ in 0..LOADS {
        let began = Instant::now();
        trial.host().load(plan.component).map_err(TrialError::Load)?;
        loads.push(began.elapsed());
    }

    // Once, to see that it goes well at all.
    let ran = trial.run(plan.call, plan.request, &plan.conditions()).await?;
    if !ran.good {
        return Err(TrialError::Failing { call: plan.call, result: ran.result.to_string() });
    }

    let mut instances = Vec::new();
    let began = Instant::now();
    while instances.len() < plan.calls_max && (began.elapsed() < plan.within || instances.is_empty()) {
        let one = Instant::now();
        trial
            .host()
            .instantiate(trial.plugin())
            .await
            .map_err(|error| TrialError::Failing { call: plan.call, result: error.to_string() })?;
        instances.push(one.elapsed());
    }

    let mut request = ran.request.clone();
    let before = trial.plugin().counters();
    let calls = plan.calls(&trial, &request).await?;
    let after = trial.plugin().counters();
    let per_call = |total: u64| total as f64 / ((after.calls_total - before.calls_total).max(1)) as f64;
    let host_calls = per_call(after.host_calls_total - before.host_calls_total);
    let memory_peak_bytes = after.memory_peak_bytes;

    let counting = salve_plugins::HostConfig { count_fuel: true, compile_quickly: true, ..config };
    let counted = Trial::load(plan.component, counting, Arc::new(NoLogs))?;
    if plan.call == Call::Observe {
        shorten(&mut request);
    }
    let before = counted.plugin().counters();
    for _ in 0..FUEL_CALLS {
        counted.run(plan.call, &request, &plan.conditions()).await?;
    }
    let after = counted.plugin().counters();
    let fuel = (after.fuel_total - before.fuel_total) / (after.calls_total - before.calls_total).max(1);
    Ok(Figures {
        plugin: trial.plugin().name().to_owned(),
        digest: trial.plugin().digest().to_owned(),
        call: plan.call,
        size_bytes: trial.plugin().stats().size_bytes,
        load_cold_us,
        load_cached_us: Quantiles::of(loads),
        instantiate_us: Quantiles::of(instances),
        call_us: Quantiles::of(calls),
        host_calls: (host_calls * 10.0).round() / 10.0,
        memory_peak_bytes,
        fuel,
    })
}

impl Plan<'_> {
    fn conditions(&self) -> Conditions {
        let answers = self.recorded.clone().map_or(Answers::Paper, Answers::Replay);
        Conditions { answers, apply: false, watch: Arc::new(Unwatched) }
    }

    /// The times of many calls.
    async fn calls(&self, trial: &Trial, request: &Request) -> Result<Vec<Duration>, TrialError> {
        let mut times = Vec::new();
        let began = Instant::now();
        let goes_on = |times: &Vec<Duration>| {
            times.len() < self.calls_max + WARM_UP
                && (began.elapsed() < self.within || times.len() <= WARM_UP)
        };
        if self.call == Call::Observe {
            while goes_on(&times) {
                times.extend(trial.batches(request).await?);
            }
        } else {
            let conditions = self.conditions();
            while goes_on(&times) {
                times.push(trial.run(self.call, request, &conditions).await?.elapsed);
            }
        }
        Ok(times.split_off(WARM_UP.min(times.len().saturating_sub(1))))
    }
}

/// Instructions of a detector are counted over a part of a long recording.
fn shorten(request: &mut Request) {
    for WorldSeries { points, .. } in &mut request.world.series {
        points.truncate(1_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: quantiles are taken from the sorted samples, also of very few.
    #[test]
    fn quantiles() {
        let samples = (1..=100).rev().map(Duration::from_micros).collect();
        let all = Quantiles::of(samples);
        assert_eq!((all.samples, all.p50, all.p99, all.max), (100, 51.0, 100.0, 100.0));
        assert_eq!(Quantiles::of(vec![Duration::from_micros(3)]).p99, 3.0);
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }
}
