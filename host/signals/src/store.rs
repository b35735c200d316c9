//! The table of series: each interned once, with its history, and with those who are told of its new points.
//!
//! ## What always holds
//! - a series is found by its slot without lock, string or allocation; by its key when it is first heard of
//! - only finite values enter; only points newer than all before are told to detectors and watches
//! - a series lives as long as it has an owner: a metric stream, a service or an edge

use crate::{
    bindings::{Bindings, Member},
    config::{LimitRule, SignalsConfig},
    counters::SignalsCounters,
    history::{History, HistoryLimits, Late},
    identity::{Origin, PackedAttributes, Texts},
    watch::Watches,
};
use salve_model::{
    Attributes,
    batch::FLAG_AFTER_GAP,
    call::SeriesInfo,
    pattern::matches,
    telemetry::{SeriesKey, SeriesRef},
    time::EventTime,
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

/// A pause longer than so many usual steps is a gap.
const GAP_STEPS: f32 = 4.0;

/// Place of a series in the table; used again after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot(pub(crate) u32);

/// One series.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) key: SeriesKey,
    pub(crate) origin: Arc<Origin>,
    pub(crate) name: Arc<str>,
    pub(crate) unit: Arc<str>,
    pub(crate) attributes: PackedAttributes,
    pub(crate) history: History,
    pub(crate) members: Vec<Member>,
    pub(crate) limit: Option<f64>,
    /// Somebody watches it.
    pub(crate) watched: bool,
    /// It is the `limit_metric` of some rule.
    measures_limit: bool,
    owners: u32,
    /// Event time of the newest point, Unix nanoseconds; 0 if there is none.
    newest: u64,
    /// Usual time between points, in milliseconds; 0 until there are two.
    step_ms: f32,
}

impl Series {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).or_else(|| self.origin.attributes.get(name).map(String::as_str))
    }

    /// Resource and point attributes; of a name that both have, the point's.
    pub(crate) fn all_attributes(&self) -> Attributes {
        let mut attributes = self.origin.attributes.clone();
        attributes.extend(self.attributes.iter().map(|(name, value)| (name.into(), value.into())));
        attributes
    }

    pub(crate) fn attributes_with_service(&self) -> Attributes {
        let mut attributes = self.all_attributes();
        if !self.origin.service.is_empty() {
            attributes.insert("service.name".into(), (*self.origin.service).into());
        }
        attributes
    }

    pub(crate) fn to_ref(&self) -> SeriesRef {
        SeriesRef {
            key: self.key,
            tenant: self.origin.tenant.clone(),
            service: (*self.origin.service).into(),
            name: (*self.name).into(),
            unit: (*self.unit).into(),
            attributes: self.all_attributes(),
        }
    }

    pub(crate) fn to_info(&self, slot: Slot) -> SeriesInfo {
        SeriesInfo {
            id: slot.0,
            name: (*self.name).into(),
            unit: (*self.unit).into(),
            service: (*self.origin.service).into(),
            limit: self.limit,
            attributes: self.all_attributes(),
        }
    }

    /// Flags of a new point, from how long the series was silent.
    fn flags_at(&mut self, time: u64) -> u8 {
        if self.newest == 0 {
            return 0;
        }
        let pause_ms = (time - self.newest) as f32 / 1e6;
        if self.step_ms == 0.0 {
            self.step_ms = pause_ms;
            return 0;
        }
        let is_gap = pause_ms > GAP_STEPS * self.step_ms;
        // Learns a slower sender in a few points, and forgets one gap as fast.
        self.step_ms += (pause_ms.min(2.0 * GAP_STEPS * self.step_ms) - self.step_ms) / 8.0;
        if is_gap { FLAG_AFTER_GAP } else { 0 }
    }

    fn bytes(&self) -> usize {
        let members = self.members.capacity() * size_of::<Member>();
        size_of::<Self>() + self.history.heap_bytes() + members + self.attributes.heap_bytes()
    }
}

/// Slots and keys.
#[derive(Debug, Default)]
pub(crate) struct SeriesTable {
    slots: Vec<Option<Series>>,
    /// Used again oldest first, so that an id that somebody holds stays wrong rather than becoming another's.
    free: VecDeque<Slot>,
    by_key: HashMap<SeriesKey, Slot>,
}

impl SeriesTable {
    pub(crate) fn get(&self, slot: Slot) -> Option<&Series> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Series> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    /// All series, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Series)> {
        (0..).map(Slot).zip(&self.slots).filter_map(|(slot, series)| Some((slot, series.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut Series)> {
        (0..).map(Slot).zip(&mut self.slots).filter_map(|(slot, series)| Some((slot, series.as_mut()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn insert(&mut self, series: Series) -> Slot {
        let slot = match self.free.pop_front() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                Slot(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.by_key.insert(series.key, slot);
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            *place = Some(series);
        }
        slot
    }
}

/// What makes a new series.
pub(crate) struct NewSeries<'a> {
    pub(crate) key: SeriesKey,
    pub(crate) origin: &'a Arc<Origin>,
    pub(crate) name: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) attributes: &'a PackedAttributes,
    /// Keep every point.
    pub(crate) fine: bool,
}

/// Series, and who is told of their points.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) config: SignalsConfig,
    pub(crate) table: SeriesTable,
    pub(crate) bindings: Bindings,
    pub(crate) watches: Watches,
    pub(crate) counters: SignalsCounters,
    pub(crate) texts: Texts,
    history: HistoryLimits,
    /// Newest value of the `limit_metric` of a rule on a resource: by the resource's key and the rule's index.
    measured_limits: BTreeMap<(u64, usize), f64>,
    /// Since [`Store::settle_limits`].
    limits_changed: bool,
}

impl Store {
    pub(crate) fn new(config: SignalsConfig) -> Self {
        Self {
            history: (&config).into(),
            config,
            table: SeriesTable::default(),
            bindings: Bindings::default(),
            watches: Watches::default(),
            counters: SignalsCounters::default(),
            texts: Texts::default(),
            measured_limits: BTreeMap::new(),
            limits_changed: false,
        }
    }

    pub(crate) fn reconfigure(&mut self, config: SignalsConfig) {
        self.history = (&config).into();
        self.config = config;
        self.measured_limits.clear();
        for (_, series) in self.table.iter_mut() {
            series.measures_limit = measures_limit(&self.config.limits, &series.name);
            refresh_limit(series, &self.config.limits, &self.measured_limits, &mut self.bindings);
        }
    }

    /// The slot of a series, made if there is none; its caller owns a share of it until [`Store::release`].
    pub(crate) fn intern(&mut self, new: &NewSeries<'_>) -> Slot {
        if let Some(slot) = self.table.by_key.get(&new.key).copied() {
            if let Some(series) = self.table.get_mut(slot) {
                series.owners = series.owners.saturating_add(1);
            }
            return slot;
        }
        let name = self.texts.share(new.name);
        let series = Series {
            key: new.key,
            origin: new.origin.clone(),
            measures_limit: measures_limit(&self.config.limits, &name),
            name,
            unit: self.texts.share(new.unit),
            attributes: new.attributes.clone(),
            history: History::default(),
            members: Vec::new(),
            limit: None,
            watched: false,
            owners: 1,
            newest: 0,
            step_ms: 0.0,
        };
        let slot = self.table.insert(series);
        let patterns = &self.config.history_fine;
        if let Some(series) = self.table.get_mut(slot) {
            refresh_limit(series, &self.config.limits, &self.measured_limits, &mut self.bindings);
            if new.fine || patterns.iter().any(|pattern| matches(pattern, &series.name)) {
                series.history.keep_fine();
            }
            self.bindings.admit(slot, series, &mut self.counters);
            self.watches.admit(slot, series);
        }
        slot
    }

    /// Gives a share back; the last one removes the series.
    pub(crate) fn release(&mut self, slot: Slot) {
        let Some(place) = self.table.slots.get_mut(slot.0 as usize) else { return };
        let Some(series) = place else { return };
        series.owners = series.owners.saturating_sub(1);
        if series.owners > 0 {
            return;
        }
        if let Some(series) = place.take() {
            self.table.by_key.remove(&series.key);
            self.table.free.push_back(slot);
            self.bindings.dismiss(&series);
            self.watches.dismiss(slot);
            self.counters.expired += 1;
        }
    }

    /// Adds a point. `time` is Unix nanoseconds and not 0; `flags` as in `Batch::point_flags`.
    #[inline]
    pub(crate) fn push(&mut self, slot: Slot, time: u64, value: f64, flags: u8) {
        if !value.is_finite() {
            self.counters.points_overflowed += 1;
            return;
        }
        let Some(series) = self.table.slots.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        if time <= series.newest {
            return Self::push_old(series, time, value, self.history, &mut self.counters);
        }
        let flags = flags | series.flags_at(time);
        series.newest = time;
        series.history.push(time / 1_000_000, value, self.history);
        self.counters.series_points += 1;
        for member in &series.members {
            let pending_max = self.config.pending_points_max;
            self.bindings.push(*member, time, value, flags, pending_max, &mut self.counters);
        }
        if series.watched {
            self.watches.push(slot, series.key, EventTime(time), value, &mut self.counters);
        }
        if series.measures_limit {
            self.measure_limit(slot, value);
        }
    }

    /// A point that is not newer than all others: history at most.
    fn push_old(
        series: &mut Series,
        time: u64,
        value: f64,
        history: HistoryLimits,
        counters: &mut SignalsCounters,
    ) {
        let is_duplicate = time == series.newest
            || series.history.push_late(time / 1_000_000, value, history) == Late::Duplicate;
        *(if is_duplicate { &mut counters.points_duplicate } else { &mut counters.points_out_of_order }) += 1;
    }

    /// A point of a `limit_metric`: those that it limits learn of it in [`Store::settle_limits`].
    fn measure_limit(&mut self, slot: Slot, value: f64) {
        let Some(series) = self.table.get(slot) else { return };
        let (origin, name) = (series.origin.key, &series.name);
        for (index, rule) in self.config.limits.iter().enumerate() {
            if rule.limit_metric.as_deref() == Some(name) {
                let before = self.measured_limits.insert((origin, index), value);
                self.limits_changed |= before != Some(value);
            }
        }
    }

    /// Tells those series of their limit whose limit has changed. One pass over all series at most once a tick, however
    /// often limits change.
    pub(crate) fn settle_limits(&mut self) {
        if std::mem::take(&mut self.limits_changed) {
            for (_, series) in self.table.iter_mut() {
                refresh_limit(series, &self.config.limits, &self.measured_limits, &mut self.bindings);
            }
        }
    }

    /// Forgets limits of resources without series, and texts that nobody has.
    pub(crate) fn sweep(&mut self) {
        if !self.measured_limits.is_empty() {
            let origins: std::collections::HashSet<u64> =
                self.table.iter().map(|(_, series)| series.origin.key).collect();
            self.measured_limits.retain(|(origin, _), _| origins.contains(origin));
        }
        self.texts.sweep();
    }

    /// An estimate of what all of it takes, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let series: usize = self.table.iter().map(|(_, series)| series.bytes()).sum();
        let keys = self.table.by_key.capacity() * (size_of::<(SeriesKey, Slot)>() + 1);
        series + keys + self.bindings.heap_bytes() + self.texts.heap_bytes()
    }
}

/// Looks the limit of a series up again; detectors hear of a change.
fn refresh_limit(
    series: &mut Series,
    rules: &[LimitRule],
    measured: &BTreeMap<(u64, usize), f64>,
    bindings: &mut Bindings,
) {
    let own =
        rules.iter().enumerate().filter(|(_, rule)| *rule.metric == *series.name && applies(rule, series));
    let limit = own
        .map(|(index, rule)| measured.get(&(series.origin.key, index)).copied().or(rule.fixed))
        .find_map(|limit| limit);
    if limit.is_some() {
        series.history.keep_fine();
    }
    if limit != series.limit {
        series.limit = limit;
        series.members.iter().for_each(|member| bindings.describe_again(*member));
    }
}

fn measures_limit(rules: &[LimitRule], name: &str) -> bool {
    rules.iter().any(|rule| rule.limit_metric.as_deref() == Some(name))
}

fn applies(rule: &LimitRule, series: &Series) -> bool {
    rule.attributes
        .iter()
        .all(|(name, pattern)| series.attribute(name).is_some_and(|value| matches(pattern, value)))
}
