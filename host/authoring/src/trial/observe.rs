//! A detector, shown the points of a world in batches.

use super::{
    Call, Request, TrialError,
    outcome::{of_guest_error, rounded},
};
use salve_model::{
    Tenant,
    batch::{Batch, RawObservation, SeriesAdded},
    telemetry::{SeriesKey, SeriesRef},
};
use salve_plugins::{DetectorInstance, DetectorOptions, GuestError, Plugin, PluginHost, State};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Most points of one trial.
const POINTS_MAX: usize = 1_000_000;
/// Most batches of one trial: a tick of a millisecond over a day must not fill the memory.
const BATCHES_MAX: u64 = 200_000;
/// Most observations that are told.
const OBSERVATIONS_MAX: usize = 10_000;
const NS_PER_MS: u64 = 1_000_000;

/// A series, as an instance is told of it. `id` may be another one after a restart.
fn added(request: &Request, index: usize, id: u32) -> SeriesAdded {
    let series = request.world.series.get(index).cloned().unwrap_or_default();
    let mut attributes = series.attributes.clone();
    if !series.service.is_empty() {
        attributes.insert("service.name".into(), series.service.clone());
    }
    SeriesAdded {
        id,
        series: SeriesRef {
            key: SeriesKey(u64::try_from(index).unwrap_or_default()),
            tenant: Tenant::default(),
            service: series.service,
            name: series.name,
            unit: series.unit,
            attributes: series.attributes,
        },
        group: 0,
        limit: series.limit,
        attributes,
    }
}

/// Points of one batch by series, which are known by their places in the world.
type Points = BTreeMap<usize, Vec<(u64, f64)>>;
/// The points of each batch, with its time.
type Columns = Vec<(u64, Points)>;

/// Cuts the world's points into batches.
fn cut(request: &Request) -> Result<Columns, TrialError> {
    let series = &request.world.series;
    let mut points: Vec<(u64, usize, f64)> = Vec::new();
    for (index, series) in series.iter().enumerate() {
        if !series.points.is_sorted_by_key(|(time, _)| *time) {
            let reason = format!("the points of `{}` are not in the order of their times", series.name);
            return Err(TrialError::Batches(reason));
        }
        points.extend(series.points.iter().map(|(time, value)| (*time, index, *value)));
    }
    if points.len() > POINTS_MAX {
        return Err(TrialError::Batches(format!("{} points; the most are {POINTS_MAX}", points.len())));
    }
    let (Some(first), Some(last)) =
        (points.iter().map(|point| point.0).min(), points.iter().map(|point| point.0).max())
    else {
        return Err(TrialError::Batches("there are no points in `world.series`".into()));
    };
    let mut batches: BTreeMap<u64, Points> = BTreeMap::new();
    let tick_ns = match request.observe.tick_ms {
        Some(0) => return Err(TrialError::Batches("`observe.tick_ms` is 0".into())),
        Some(tick_ms) => Some(tick_ms.saturating_mul(NS_PER_MS)),
        None => None,
    };
    let end = last.max(request.incident.now);
    if let Some(tick_ns) = tick_ns {
        if (end - first) / tick_ns > BATCHES_MAX {
            let reason = format!("`observe.tick_ms` gives more than {BATCHES_MAX} batches");
            return Err(TrialError::Batches(reason));
        }
        let mut now = first;
        while now < end.saturating_add(tick_ns) {
            batches.insert(now, BTreeMap::new());
            now = now.saturating_add(tick_ns);
        }
    }
    for (time, index, value) in points {
        // A tick brings what came since the one before.
        let now = tick_ns.map_or(time, |tick_ns| first + (time - first).div_ceil(tick_ns) * tick_ns);
        batches.entry(now).or_default().entry(index).or_default().push((time, value));
    }
    Ok(batches.into_iter().collect())
}

/// Batches for one instance. `id_of` gives the instance's ids of series.
fn batch(
    request: &Request,
    sequence: u64,
    (now, points): &(u64, Points),
    introduce: bool,
    id_of: impl Fn(usize) -> u32,
) -> Batch {
    let count = request.world.series.len();
    let mut batch = Batch { sequence, now: *now, offsets: vec![0], ..Batch::default() };
    if introduce {
        batch.added = (0..count).map(|index| added(request, index, id_of(index))).collect();
    }
    for (index, points) in points {
        batch.series.push(id_of(*index));
        for (time, value) in points {
            batch.times.push(*time);
            batch.values.push(*value);
            batch.point_flags.push(0);
        }
        batch.offsets.push(u32::try_from(batch.times.len()).unwrap_or(u32::MAX));
    }
    batch
}

/// Makes an instance.
async fn start(
    host: &PluginHost,
    plugin: &Arc<Plugin>,
    request: &Request,
    state: Option<State>,
) -> Result<DetectorInstance, GuestError> {
    let options = DetectorOptions { name: "trial".into(), parameters_json: request.parameters_json(), state };
    host.detector(plugin, options).await
}

/// Shows the detector all of the request's points, and says what it observed.
pub(super) async fn observe(
    host: &PluginHost,
    plugin: &Arc<Plugin>,
    request: &Request,
) -> Result<(Value, bool), TrialError> {
    let batches = cut(request)?;
    let shown = Shown { host, plugin, request };
    Ok(match shown.all(&batches).await {
        Ok(result) => {
            // A series that the detector fails on is not given to it any more; nobody would want that in use.
            let good = result.get("set_aside").and_then(Value::as_array).is_none_or(Vec::is_empty);
            (result, good)
        }
        Err(error) => (of_guest_error(&error), false),
    })
}

/// The time of each batch.
pub(super) async fn times(
    host: &PluginHost,
    plugin: &Arc<Plugin>,
    request: &Request,
) -> Result<Vec<Duration>, TrialError> {
    let failing = |error: GuestError| TrialError::Failing { call: Call::Observe, result: error.to_string() };
    let columns = cut(request)?;
    let mut instance = start(host, plugin, request, None).await.map_err(failing)?;
    let mut times = Vec::with_capacity(columns.len());
    for (number, columns) in (1_u64..).zip(&columns) {
        let batch =
            batch(request, number, columns, number == 1, |index| u32::try_from(index).unwrap_or(u32::MAX));
        let began = Instant::now();
        instance.observe(&batch).await.map_err(failing)?;
        times.push(began.elapsed());
    }
    Ok(times)
}

struct Shown<'a> {
    host: &'a PluginHost,
    plugin: &'a Arc<Plugin>,
    request: &'a Request,
}

impl Shown<'_> {
    async fn all(&self, batches: &Columns) -> Result<Value, GuestError> {
        let count = self.request.world.series.len();
        let forward = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let backward = |index: usize| u32::try_from(count - 1 - index).unwrap_or(u32::MAX);
        let mut instance = start(self.host, self.plugin, self.request, None).await?;
        let mut observations = Vec::new();
        let mut total = 0_u64;
        let mut refused = 0;
        let mut introduce = true;
        let mut restarted = false;
        for (number, columns) in (1_u64..).zip(batches) {
            let batch = if restarted {
                batch(self.request, number, columns, introduce, backward)
            } else {
                batch(self.request, number, columns, introduce, forward)
            };
            introduce = false;
            let output = instance.observe(&batch).await?;
            refused += output.refused;
            for observation in &output.observations {
                total += 1;
                if observations.len() < OBSERVATIONS_MAX {
                    let id = usize::try_from(observation.series).unwrap_or(usize::MAX);
                    let index = if restarted { count.wrapping_sub(1).wrapping_sub(id) } else { id };
                    observations.push(self.told(number, index, observation));
                }
            }
            if self.request.observe.restart_after == usize::try_from(number).ok() {
                // As after a restart of the daemon: state from the snapshot, all series again, under other ids.
                let state = instance.snapshot().await?;
                instance = start(self.host, self.plugin, self.request, Some(state)).await?;
                if let Some(kind) = instance.restore_failure() {
                    let plugin = self.plugin.name().to_owned();
                    return Err(GuestError { plugin, call: "restore", kind: kind.clone() });
                }
                (restarted, introduce) = (true, true);
            }
        }
        let set_aside: Vec<_> = instance
            .take_set_aside()
            .into_iter()
            .map(|aside| json!({ "signal": aside.series.name, "reason": aside.kind.to_string() }))
            .collect();
        Ok(json!({
            "outcome": "observed",
            "batches": batches.len(),
            "observations_total": total,
            "observations": observations,
            "refused": refused,
            "set_aside": set_aside,
        }))
    }

    fn told(&self, batch: u64, index: usize, observation: &RawObservation) -> Value {
        let series = self.request.world.series.get(index).cloned().unwrap_or_default();
        json!({
            "batch": batch,
            "service": series.service,
            "signal": series.name,
            "time": observation.time,
            "kind": observation.kind,
            "rising": observation.rising,
            "score": rounded(observation.score.into()),
            "confidence": rounded(observation.confidence.into()),
            "value": observation.value,
            "expected": rounded(observation.expected),
            "lower": rounded(observation.lower),
            "upper": rounded(observation.upper),
            "reason": observation.reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::WorldSeries;

    fn request(tick_ms: Option<u64>, points: &[&[(u64, f64)]]) -> Request {
        let mut request = Request::default();
        request.observe.tick_ms = tick_ms;
        let series =
            |points: &&[(u64, f64)]| WorldSeries { points: points.to_vec(), ..WorldSeries::default() };
        request.world.series = points.iter().map(series).collect();
        request
    }

    /// Guarantees: every point is in exactly one batch, in the order of time; ticks bring what came since the one before,
    /// and empty ones are there.
    #[test]
    fn no_point_is_lost_or_doubled() {
        let points: [&[(u64, f64)]; 2] =
            [&[(0, 1.0), (1_000_000, 2.0), (5_000_000, 3.0)], &[(1_000_000, 9.0)]];
        let times = |columns: &Columns| columns.iter().map(|(now, _)| *now).collect::<Vec<_>>();
        let by_time = cut(&request(None, &points)).unwrap();
        assert_eq!(times(&by_time), [0, 1_000_000, 5_000_000]);
        let by_tick = cut(&request(Some(2), &points)).unwrap();
        assert_eq!(times(&by_tick), [0, 2_000_000, 4_000_000, 6_000_000]);
        let batch = batch(&request(None, &points), 2, &by_tick[1], false, |index| index as u32);
        assert_eq!((batch.series, batch.offsets, batch.values), (vec![0, 1], vec![0, 1, 2], vec![2.0, 9.0]));
        assert!(by_tick[2].1.is_empty());
    }

    /// Guarantees: requests that would fill the memory or make no sense are refused with the reason.
    #[test]
    fn bounded() {
        let mut far = request(Some(1), &[&[(0, 1.0)]]);
        far.incident.now = u64::MAX;
        let unsorted = request(None, &[&[(2, 1.0), (1, 1.0)]]);
        for request in [request(None, &[]), request(Some(0), &[&[(0, 1.0)]]), far, unsorted] {
            assert!(matches!(cut(&request), Err(TrialError::Batches(_))));
        }
    }
}
