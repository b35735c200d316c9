//! Metric points: finds the stream of each, and lets it make its series' values.

use crate::{
    counters::{Rejection, Tally},
    histogram::{self, Exponential, Side},
    identity::{KeyHasher, Origin, PackedAttributes, cut, readable},
    services::{Resources, Services},
    store::{NewSeries, Slot, Store},
    streams::{
        Explicit, HISTOGRAM_QUANTILES, Last, Scaled, State, Stream, Total, delta_seconds, emit_total,
        interval, parts, series_of,
    },
};
use salve_model::{Tenant, telemetry::SeriesKey};
use salve_otlp::{
    Attributes, ExponentialHistogramPoint, HistogramPoint, Metric, MetricKind, MetricsVisitor, NumberPoint,
    Numbers, Resource, Scope, SummaryPoint, Temporality,
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::Arc,
};

/// Most quantiles of a summary that become series.
const SUMMARY_QUANTILES_MAX: usize = 16;
/// Longest name of a metric, in bytes: that of the OpenTelemetry specification for instruments.
const METRIC_NAME_BYTES_MAX: usize = 255;

/// For keys that are hashes already, keyed ones.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// All metric streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    places: Vec<Option<Stream>>,
    free: Vec<u32>,
    /// By the hash of how a stream's points come; several may lead to one stream.
    aliases: HashMap<u64, u32, BuildHasherDefault<AlreadyHashed>>,
    by_key: HashMap<SeriesKey, u32>,
    /// Series by metric and service.
    series_by_metric: HashMap<u64, u32>,
    series: usize,
    hasher: RandomState,
    counts: Vec<u64>,
    bounds: Vec<f64>,
}

impl Streams {
    /// Gives the series of streams back that were silent since `before_ms`.
    pub(crate) fn expire(&mut self, before_ms: u64, store: &mut Store) {
        let mut any = false;
        for (index, place) in (0..).zip(&mut self.places) {
            if place.as_ref().is_none_or(|stream| stream.heard_ms >= before_ms) {
                continue;
            }
            let Some(stream) = place.take() else { continue };
            any = true;
            self.free.push(index);
            self.series -= stream.slots.len();
            if let Some(count) = self.series_by_metric.get_mut(&stream.metric) {
                *count = count.saturating_sub(u32::try_from(stream.slots.len()).unwrap_or(u32::MAX));
            }
            stream.slots.iter().for_each(|slot| store.release(*slot));
        }
        if any {
            let places = &self.places;
            let is_alive = |index: &u32| places.get(*index as usize).is_some_and(Option::is_some);
            self.aliases.retain(|_, index| is_alive(index));
            self.by_key.retain(|_, index| is_alive(index));
            self.series_by_metric.retain(|_, count| *count > 0);
        }
    }

    /// Forgets how points came, so that each is named again by the rules in force.
    pub(crate) fn forget_aliases(&mut self) {
        self.aliases.clear();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let streams = self.places.iter().flatten();
        let states: usize =
            streams.map(|stream| stream.slots.len() * size_of::<Slot>() + stream.state.heap_bytes()).sum();
        states
            + self.places.capacity() * size_of::<Option<Stream>>()
            + self.aliases.capacity() * 17
            + self.by_key.capacity() * 17
    }

    fn insert(&mut self, stream: Stream) -> u32 {
        match self.free.pop() {
            Some(index) => {
                if let Some(place) = self.places.get_mut(index as usize) {
                    *place = Some(stream);
                }
                index
            }
            None => {
                self.places.push(Some(stream));
                u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
            }
        }
    }
}

/// The metric that the next points belong to. Buffers are used again.
#[derive(Debug)]
struct Current {
    /// None if there is no room for the resource.
    origin: Option<Arc<Origin>>,
    resource_hash: u64,
    scope_hash: u64,
    scope_name: String,
    scope_attributes: Vec<(String, String)>,
    metric_hash: u64,
    name: String,
    unit: String,
    kind: MetricKind,
}

/// Takes the metric points of one request in.
pub(crate) struct PointIntake<'a> {
    tenant: &'a Tenant,
    now_ms: u64,
    store: &'a mut Store,
    resources: &'a mut Resources,
    services: &'a mut Services,
    streams: &'a mut Streams,
    pub(crate) tally: Tally,
    current: Current,
}

impl<'a> PointIntake<'a> {
    pub(crate) fn new(
        tenant: &'a Tenant,
        now_ms: u64,
        store: &'a mut Store,
        resources: &'a mut Resources,
        services: &'a mut Services,
        streams: &'a mut Streams,
    ) -> Self {
        let current = Current {
            origin: None,
            resource_hash: 0,
            scope_hash: 0,
            scope_name: String::new(),
            scope_attributes: Vec::new(),
            metric_hash: 0,
            name: String::new(),
            unit: String::new(),
            kind: MetricKind::Empty,
        };
        Self { tenant, now_ms, store, resources, services, streams, tally: Tally::default(), current }
    }

    fn count(&mut self, result: Result<(), Rejection>) {
        match result {
            Ok(()) => {
                self.tally.accepted += 1;
                self.store.counters.points += 1;
            }
            Err(why) => self.tally.reject(why, &mut self.store.counters),
        }
    }

    /// The time of a point, or why it is not taken. A point without one was measured about now.
    fn time_of(&mut self, time: u64) -> Result<u64, Rejection> {
        if time == 0 {
            self.store.counters.times_missing += 1;
            return Ok(self.now_ms.saturating_mul(1_000_000).max(1));
        }
        let newest_ms = self.now_ms.saturating_add(self.store.config.future_max_ms);
        if time / 1_000_000 > newest_ms { Err(Rejection::Future) } else { Ok(time) }
    }

    /// The stream of a point, made if there is none.
    fn stream(&mut self, attributes: &Attributes<'_>, quantiles: &[f64]) -> Result<u32, Rejection> {
        // The metric's hash is keyed, so senders cannot aim at places in the table.
        let product = u128::from(self.current.metric_hash) * u128::from(attributes.hash64() | 1);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let alias = (product as u64) ^ ((product >> 64) as u64) ^ self.current.metric_hash.rotate_left(32);
        if let Some(index) = self.streams.aliases.get(&alias) {
            return Ok(*index);
        }
        let index = self.intern(attributes, quantiles)?;
        if self.streams.aliases.len() < 4 * self.store.config.series_max as usize {
            self.streams.aliases.insert(alias, index);
        }
        Ok(index)
    }

    fn intern(&mut self, attributes: &Attributes<'_>, quantiles: &[f64]) -> Result<u32, Rejection> {
        let current = &self.current;
        let origin = current.origin.clone().ok_or(Rejection::ResourceLimit)?;
        if current.name.is_empty() || current.name.len() > METRIC_NAME_BYTES_MAX {
            return Err(Rejection::Unnamed);
        }
        let mut pairs = readable(attributes.iter(), &self.store.config);
        let scope: Vec<(&str, String)> =
            current.scope_attributes.iter().map(|(name, value)| (&**name, value.clone())).collect();
        let keys = KeyHasher::new(self.tenant).number(origin.key).text(&current.scope_name).pairs(&scope);
        let key_of = |name: &str, unit: &str| keys.clone().text(name).text(unit).pairs(&pairs).finish();
        let key = keys.clone().text(&current.name).number(tag(current.kind).into()).pairs(&pairs).finish();
        if let Some(index) = self.streams.by_key.get(&key) {
            return Ok(*index);
        }
        let names = series_of(&current.name, &current.unit, current.kind, quantiles);
        let metric = self.streams.hasher.hash_one((&self.tenant.0, &*origin.service, &current.name));
        self.check_room(metric, names.len())?;
        let series_keys: Vec<SeriesKey> = names.iter().map(|(name, unit)| key_of(name, unit)).collect();
        if cut(&mut pairs, self.store.config.attribute_bytes_max as usize) {
            self.store.counters.attributes_cut += 1;
        }
        let packed = PackedAttributes::new(pairs.iter().map(|(name, value)| (*name, &**value)));
        let slots: Box<[Slot]> = names
            .iter()
            .zip(series_keys)
            .map(|((name, unit), key)| {
                let new = NewSeries { key, origin: &origin, name, unit, attributes: &packed, fine: false };
                self.store.intern(&new)
            })
            .collect();
        self.streams.series += slots.len();
        let count = self.streams.series_by_metric.entry(metric).or_default();
        *count = count.saturating_add(u32::try_from(slots.len()).unwrap_or(u32::MAX));
        let state = State::new(current.kind, quantiles);
        let index = self.streams.insert(Stream { heard_ms: self.now_ms, metric, slots, state });
        self.streams.by_key.insert(key, index);
        Ok(index)
    }

    fn check_room(&self, metric: u64, wanted: usize) -> Result<(), Rejection> {
        let config = &self.store.config;
        if self.streams.series + wanted > config.series_max as usize {
            return Err(Rejection::SeriesLimit);
        }
        let of_metric = self.streams.series_by_metric.get(&metric).copied().unwrap_or(0) as usize;
        if of_metric + wanted > config.series_per_metric_max as usize {
            return Err(Rejection::MetricLimit);
        }
        Ok(())
    }

    fn take_number(&mut self, point: &NumberPoint<'_>) -> Result<(), Rejection> {
        let Some(value) = point.value else {
            self.store.counters.points_without_value += 1;
            return Ok(());
        };
        if !value.is_finite() {
            return Err(Rejection::NotFinite);
        }
        let time = self.time_of(point.time)?;
        let index = self.stream(&point.attributes, &[])?;
        let Some(stream) = self.streams.places.get_mut(index as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        stream.heard_ms = self.now_ms;
        let Some(slot) = stream.slots.first().copied() else { return Ok(()) };
        let store = &mut *self.store;
        match &mut stream.state {
            State::Accumulated { sum, time: newest } => {
                if is_new(time, *newest, store) {
                    *newest = time;
                    let total = *sum + value;
                    *sum = if total.is_finite() { total } else { value };
                    store.push(slot, time, *sum, 0);
                }
            }
            State::DeltaCounter { time: newest } => {
                let seconds = delta_seconds(point.start_time, time, *newest);
                *newest = time.max(*newest);
                if let Some(seconds) = seconds {
                    store.push(slot, time, value / seconds, 0);
                }
            }
            State::Counter(last) => {
                if !is_new(time, last.as_ref().map_or(0, |last| last.time), store) {
                    return Ok(());
                }
                let before = last.as_ref().map_or(0.0, |last| last.value);
                let spoken = interval(last.as_ref(), point.start_time, time, value < before);
                *last = Some(Last { start: point.start_time, time, value });
                if let Some((flags, seconds)) = parts(spoken) {
                    let added = if flags == 0 { value - before } else { value };
                    store.counters.resets += u64::from(flags != 0);
                    store.push(slot, time, added / seconds, flags);
                }
            }
            // Also a number for a stream of another kind, which its kind's tag in the key rules out.
            _ => store.push(slot, time, value, 0),
        }
        Ok(())
    }

    fn take_histogram(&mut self, point: &HistogramPoint<'_>) -> Result<(), Rejection> {
        if point.no_recorded_value {
            self.store.counters.points_without_value += 1;
            return Ok(());
        }
        if point.sum.is_some_and(|sum| !sum.is_finite()) {
            return Err(Rejection::NotFinite);
        }
        let time = self.time_of(point.time)?;
        let widest = self.store.config.histogram_buckets_max as usize;
        let (bounds, counts) = (&mut self.streams.bounds, &mut self.streams.counts);
        bounds.clear();
        counts.clear();
        bounds.extend(point.explicit_bounds.iter_f64().take(widest + 1));
        counts.extend(point.bucket_counts.iter_u64().take(widest + 1));
        if counts.len() > widest {
            self.store.counters.histograms_too_wide += 1;
            bounds.clear();
            counts.clear();
        }
        let is_rising = bounds.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
        let is_finite = bounds.iter().all(|bound| bound.is_finite());
        if !is_rising || !is_finite || !(counts.is_empty() || counts.len() == bounds.len() + 1) {
            return Err(Rejection::NotFinite);
        }
        let index = self.stream(&point.attributes, &[])?;
        let Streams { places, bounds, counts, .. } = &mut *self.streams;
        let Some(stream) = places.get_mut(index as usize).and_then(Option::as_mut) else { return Ok(()) };
        stream.heard_ms = self.now_ms;
        let store = &mut *self.store;
        let total = Total { count: point.count, sum: point.sum };
        let emitted = match &mut stream.state {
            State::DeltaHistogram { time: newest } => {
                let seconds = delta_seconds(point.start_time, time, *newest);
                *newest = time.max(*newest);
                Some((total, 0, seconds))
            }
            State::Histogram(last) => {
                if !is_new(time, last.as_ref().map_or(0, |last| last.time), store) {
                    return Ok(());
                }
                Self::difference(last, point.start_time, time, total, bounds, counts, store)
            }
            _ => None,
        };
        if let Some((added, flags, seconds)) = emitted {
            emit_total(&stream.slots, time, added, seconds, flags, store);
            for ((_, quantile), slot) in HISTOGRAM_QUANTILES.iter().zip(stream.slots.iter().skip(2)) {
                if let Some(value) = histogram::quantile(bounds, counts, *quantile) {
                    store.push(*slot, time, value, flags);
                }
            }
        }
        Ok(())
    }

    /// What a cumulative histogram has added: `counts` become the difference.
    fn difference(
        last: &mut Option<Box<Last<Explicit>>>,
        start: u64,
        time: u64,
        total: Total,
        bounds: &[f64],
        counts: &mut [u64],
        store: &mut Store,
    ) -> Option<(Total, u8, Option<f64>)> {
        let Some(last) = last else {
            let value = Explicit { total, bounds: bounds.to_vec(), counts: counts.to_vec() };
            *last = Some(Box::new(Last { start, time, value }));
            return None;
        };
        let added = total.since(last.value.total);
        let restarted = start != 0 && last.start != 0 && start != last.start;
        let is_same_shape = last.value.bounds == bounds;
        let fits = !restarted
            && added.is_some()
            && (!is_same_shape || histogram::advance(counts, &mut last.value.counts));
        let spoken = interval(Some(&**last), start, time, !fits);
        store.counters.resets += u64::from(!fits);
        if !(fits && is_same_shape) {
            last.value.bounds = bounds.to_vec();
            last.value.counts = counts.to_vec();
        }
        if fits && !is_same_shape {
            // Other buckets cannot be compared; number and sum can.
            counts.fill(0);
        }
        last.value.total = total;
        last.start = start;
        last.time = time;
        let (flags, seconds) = parts(spoken)?;
        Some((added.filter(|_| fits).unwrap_or(total), flags, Some(seconds)))
    }

    fn take_exponential(&mut self, point: &ExponentialHistogramPoint<'_>) -> Result<(), Rejection> {
        if point.no_recorded_value {
            self.store.counters.points_without_value += 1;
            return Ok(());
        }
        if point.sum.is_some_and(|sum| !sum.is_finite()) {
            return Err(Rejection::NotFinite);
        }
        let time = self.time_of(point.time)?;
        let widest = self.store.config.histogram_buckets_max as usize;
        let side = |offset: i32, counts: Numbers<'_>| Side {
            offset,
            counts: counts.iter_u64().take(widest + 1).collect(),
        };
        let mut buckets = Exponential {
            scale: point.scale,
            zero: point.zero_count,
            positive: side(point.positive.offset, point.positive.counts),
            negative: side(point.negative.offset, point.negative.counts),
        };
        if buckets.positive.counts.len() + buckets.negative.counts.len() > widest {
            self.store.counters.histograms_too_wide += 1;
            buckets = Exponential { scale: point.scale, ..Exponential::default() };
        }
        let index = self.stream(&point.attributes, &[])?;
        let Some(stream) = self.streams.places.get_mut(index as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        stream.heard_ms = self.now_ms;
        let store = &mut *self.store;
        let total = Total { count: point.count, sum: point.sum };
        let emitted = match &mut stream.state {
            State::DeltaHistogram { time: newest } => {
                let seconds = delta_seconds(point.start_time, time, *newest);
                *newest = time.max(*newest);
                Some((total, 0, seconds))
            }
            State::Exponential(last) => {
                if !is_new(time, last.as_ref().map_or(0, |last| last.time), store) {
                    return Ok(());
                }
                let value = Scaled { total, buckets: buckets.clone() };
                let before = last.replace(Box::new(Last { start: point.start_time, time, value }));
                before.and_then(|before| {
                    let added = total.since(before.value.total);
                    let restarted =
                        point.start_time != 0 && before.start != 0 && point.start_time != before.start;
                    let fits = !restarted && added.is_some() && buckets.subtract(&before.value.buckets);
                    store.counters.resets += u64::from(!fits);
                    let (flags, seconds) = parts(interval(Some(&*before), point.start_time, time, !fits))?;
                    Some((added.filter(|_| fits).unwrap_or(total), flags, Some(seconds)))
                })
            }
            _ => None,
        };
        if let Some((added, flags, seconds)) = emitted {
            emit_total(&stream.slots, time, added, seconds, flags, store);
            for ((_, quantile), slot) in HISTOGRAM_QUANTILES.iter().zip(stream.slots.iter().skip(2)) {
                if let Some(value) = buckets.quantile(*quantile) {
                    store.push(*slot, time, value, flags);
                }
            }
        }
        Ok(())
    }

    fn take_summary(&mut self, point: &SummaryPoint<'_>) -> Result<(), Rejection> {
        if point.no_recorded_value {
            self.store.counters.points_without_value += 1;
            return Ok(());
        }
        if !point.sum.is_finite() {
            return Err(Rejection::NotFinite);
        }
        let time = self.time_of(point.time)?;
        // A quantile of nothing is NaN, by custom; it has no point.
        let mut given: Vec<(f64, f64)> = point.quantiles().take(SUMMARY_QUANTILES_MAX).collect();
        if given.iter().any(|(quantile, _)| !(0.0..=1.0).contains(quantile)) {
            return Err(Rejection::NotFinite);
        }
        given.sort_by(|left, right| left.0.total_cmp(&right.0));
        given.dedup_by(|later, first| later.0 == first.0);
        let wanted: Vec<f64> = given.iter().map(|(quantile, _)| *quantile).collect();
        let index = self.stream(&point.attributes, &wanted)?;
        let Some(stream) = self.streams.places.get_mut(index as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        stream.heard_ms = self.now_ms;
        let store = &mut *self.store;
        let State::Summary { last, quantiles } = &mut stream.state else { return Ok(()) };
        if !is_new(time, last.as_ref().map_or(0, |last| last.time), store) {
            return Ok(());
        }
        let total = Total { count: point.count, sum: Some(point.sum) };
        let added = last.as_ref().and_then(|last| total.since(last.value));
        let spoken = interval(last.as_ref(), point.start_time, time, last.is_some() && added.is_none());
        *last = Some(Last { start: point.start_time, time, value: total });
        let mut quantile_flags = 0;
        if let Some((flags, seconds)) = parts(spoken) {
            store.counters.resets += u64::from(flags != 0);
            quantile_flags = flags;
            let added = added.filter(|_| flags == 0).unwrap_or(total);
            emit_total(&stream.slots, time, added, Some(seconds), flags, store);
        }
        for (quantile, slot) in quantiles.iter().zip(stream.slots.iter().skip(2)) {
            let value = given.iter().find(|(other, _)| other == quantile).map(|(_, value)| *value);
            if let Some(value) = value.filter(|value| value.is_finite()) {
                store.push(*slot, time, value, quantile_flags);
            }
        }
        Ok(())
    }
}

/// False, and counted, for a point that is not newer than all before of a stream that must see them in order.
fn is_new(time: u64, newest: u64, store: &mut Store) -> bool {
    if time == newest {
        store.counters.points_duplicate += 1;
    } else if time < newest {
        store.counters.points_out_of_order += 1;
    }
    time > newest
}

/// A small number for each kind and temporality.
fn tag(kind: MetricKind) -> u8 {
    let of = |temporality| match temporality {
        Temporality::Unspecified | Temporality::Cumulative => 0,
        Temporality::Delta => 1,
    };
    match kind {
        MetricKind::Empty => 0,
        MetricKind::Gauge => 1,
        MetricKind::Sum { temporality, monotonic } => 2 + of(temporality) + 2 * u8::from(monotonic),
        MetricKind::Histogram(temporality) => 6 + of(temporality),
        MetricKind::ExponentialHistogram(temporality) => 8 + of(temporality),
        MetricKind::Summary => 10,
    }
}

impl MetricsVisitor for PointIntake<'_> {
    fn resource(&mut self, resource: Resource<'_>) {
        let hash = self.resources.hash(self.tenant, &resource.attributes);
        let has_room = self.resources.hear(
            hash,
            self.tenant,
            &resource.attributes,
            self.now_ms,
            self.services,
            self.store,
        );
        self.current.resource_hash = hash;
        self.current.origin = self.resources.get(hash).filter(|_| has_room).map(|known| known.origin.clone());
    }

    fn scope(&mut self, scope: Scope<'_>) {
        self.current.scope_hash = self.streams.hasher.hash_one((scope.name, scope.attributes.hash64()));
        self.current.scope_name.clear();
        self.current.scope_name.push_str(scope.name);
        self.current.scope_attributes.clear();
        let pairs = readable(scope.attributes.iter(), &self.store.config);
        self.current.scope_attributes.extend(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }

    fn metric(&mut self, metric: Metric<'_>) {
        let current = &mut self.current;
        let parts = (current.resource_hash, current.scope_hash, metric.name, metric.unit, tag(metric.kind));
        current.metric_hash = self.streams.hasher.hash_one(parts);
        current.kind = metric.kind;
        current.name.clear();
        current.name.push_str(metric.name);
        current.unit.clear();
        current.unit.push_str(metric.unit);
    }

    fn number(&mut self, point: NumberPoint<'_>) {
        let result = self.take_number(&point);
        self.count(result);
    }

    fn histogram(&mut self, point: HistogramPoint<'_>) {
        let result = self.take_histogram(&point);
        self.count(result);
    }

    fn exponential_histogram(&mut self, point: ExponentialHistogramPoint<'_>) {
        let result = self.take_exponential(&point);
        self.count(result);
    }

    fn summary(&mut self, point: SummaryPoint<'_>) {
        let result = self.take_summary(&point);
        self.count(result);
    }
}
