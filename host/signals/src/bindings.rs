//! Who is told of new points: detectors, each with its shards of series and the columns that wait for it.
//!
//! ## What always holds
//! - a shard has at most `shard_series_max` series, all of one tenant; peers are in one shard
//! - an id means one series from the batch that adds it to the batch that removes it, and is free only after that one
//! - a series appears in `added` again, with the same id, when its limit has changed: the newer entry counts

use crate::{
    counters::SignalsCounters,
    store::{Series, SeriesTable, Slot},
};
use salve_model::{
    Attributes, Tenant,
    batch::{Batch, SeriesAdded},
    pattern::{matches, matches_any},
    time::Now,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Which series. Patterns are names with `*` for any text; an empty list means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesSelector {
    /// Series names, any of them.
    pub names: Vec<String>,
    /// Names of services, any of them.
    pub services: Vec<String>,
    /// Point or resource attributes, all of them; the values are patterns.
    pub attributes: Attributes,
}

impl SeriesSelector {
    fn selects(&self, series: &Series) -> bool {
        matches_any(&self.names, &series.name)
            && matches_any(&self.services, &series.origin.service)
            && self
                .attributes
                .iter()
                .all(|(name, pattern)| series.attribute(name).is_some_and(|value| matches(pattern, value)))
    }
}

/// A detector as configured, and the series that it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorBinding {
    /// Name of the binding: `Observation::detector`.
    pub name: String,
    /// Which series it sees.
    #[serde(default)]
    pub select: SeriesSelector,
    /// Most series of one instance.
    #[serde(default = "shard_series_max")]
    pub shard_series_max: u32,
    /// Ask for dense scores.
    #[serde(default)]
    pub scores: bool,
}

fn shard_series_max() -> u32 {
    100_000
}

impl DetectorBinding {
    /// A binding with the usual size of shards.
    #[must_use]
    pub fn new(name: impl Into<String>, select: SeriesSelector) -> Self {
        Self { name: name.into(), select, shard_series_max: shard_series_max(), scores: false }
    }
}

/// Names a binding while it lasts; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingId(pub u32);

/// A series' place in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    binding: BindingId,
    shard: u32,
    id: u32,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    id: u32,
    flags: u8,
    time: u64,
    value: f64,
}

/// One instance's worth of series.
#[derive(Debug)]
struct Shard {
    tenant: Tenant,
    live: u32,
    /// By id.
    places: Vec<Place>,
    free: Vec<u32>,
    /// Free once the next batch has been taken.
    free_soon: Vec<u32>,
    added: Vec<u32>,
    removed: Vec<u32>,
    pending: Vec<Pending>,
    sequence: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    slot: Option<Slot>,
    group: u32,
    told: bool,
}

/// Peers: series of one name of one service.
#[derive(Debug)]
struct Group {
    number: u32,
    shard: u32,
    members: u32,
}

/// Tenant, service and name.
type GroupKey = (String, String, String);

#[derive(Debug)]
struct Bound {
    binding: DetectorBinding,
    shards: Vec<Shard>,
    groups: HashMap<GroupKey, Group>,
    groups_made: u32,
}

/// All bindings.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    bound: HashMap<BindingId, Bound>,
    /// In the order of binding, so that batches always come in the same order.
    order: Vec<BindingId>,
    made: u32,
}

impl Bindings {
    pub(crate) fn bind(
        &mut self,
        binding: DetectorBinding,
        table: &mut SeriesTable,
        counters: &mut SignalsCounters,
    ) -> BindingId {
        let id = BindingId(self.made);
        self.made = self.made.saturating_add(1);
        let mut bound = Bound { binding, shards: Vec::new(), groups: HashMap::new(), groups_made: 0 };
        for (slot, series) in table.iter_mut() {
            series.members.extend(bound.admit(id, slot, series, counters));
        }
        self.bound.insert(id, bound);
        self.order.push(id);
        id
    }

    pub(crate) fn unbind(&mut self, id: BindingId, table: &mut SeriesTable) {
        if self.bound.remove(&id).is_some() {
            self.order.retain(|other| *other != id);
            for (_, series) in table.iter_mut() {
                series.members.retain(|member| member.binding != id);
            }
        }
    }

    /// Gives a new series its places.
    pub(crate) fn admit(&mut self, slot: Slot, series: &mut Series, counters: &mut SignalsCounters) {
        for id in &self.order {
            if let Some(bound) = self.bound.get_mut(id) {
                series.members.extend(bound.admit(*id, slot, series, counters));
            }
        }
        series.members.shrink_to_fit();
    }

    /// Takes a series' places away.
    pub(crate) fn dismiss(&mut self, series: &Series) {
        for member in &series.members {
            if let Some(bound) = self.bound.get_mut(&member.binding) {
                bound.dismiss(member, series);
            }
        }
    }

    /// Tells one detector of a point.
    #[inline]
    pub(crate) fn push(
        &mut self,
        member: Member,
        time: u64,
        value: f64,
        flags: u8,
        pending_max: u32,
        counters: &mut SignalsCounters,
    ) {
        let Some(shard) = self.shard_mut(member) else { return };
        if shard.pending.len() >= pending_max as usize {
            let dropped = shard.pending.len() / 2;
            shard.pending.drain(..dropped);
            counters.pending_dropped += dropped as u64;
        }
        shard.pending.push(Pending { id: member.id, flags, time, value });
    }

    /// Sends the series' description again with the next batch.
    pub(crate) fn describe_again(&mut self, member: Member) {
        if let Some(shard) = self.shard_mut(member)
            && !shard.added.contains(&member.id)
        {
            shard.added.push(member.id);
        }
    }

    /// Sends the descriptions of all series of a shard again with the next batch.
    pub(crate) fn describe_all_again(&mut self, id: BindingId, shard: u32) {
        if let Some(shard) = self.bound.get_mut(&id).and_then(|bound| bound.shards.get_mut(shard as usize)) {
            shard.added = (0..)
                .zip(&shard.places)
                .filter(|(_, place)| place.slot.is_some())
                .map(|(id, _)| id)
                .collect();
        }
    }

    /// Whose a shard is, and which of that tenant's shards of the binding.
    pub(crate) fn owner(&self, id: BindingId, shard: u32) -> Option<(Tenant, u32)> {
        let shards = &self.bound.get(&id)?.shards;
        let number = usize::try_from(shard).ok()?;
        let tenant = &shards.get(number)?.tenant;
        let before = shards.iter().take(number).filter(|other| other.tenant == *tenant).count();
        Some((tenant.clone(), u32::try_from(before).unwrap_or(u32::MAX)))
    }

    fn shard_mut(&mut self, member: Member) -> Option<&mut Shard> {
        self.bound.get_mut(&member.binding)?.shards.get_mut(member.shard as usize)
    }

    /// One batch for every shard, empty where nothing is new.
    pub(crate) fn take(&mut self, table: &SeriesTable, now: Now) -> Vec<(BindingId, u32, Batch)> {
        let mut batches = Vec::new();
        for id in &self.order {
            let Some(bound) = self.bound.get_mut(id) else { continue };
            for (number, shard) in (0..).zip(&mut bound.shards) {
                batches.push((*id, number, shard.take(table, now, bound.binding.scores)));
            }
        }
        batches
    }

    pub(crate) fn slot(&self, id: BindingId, shard: u32, series: u32) -> Option<Slot> {
        self.bound.get(&id)?.shards.get(shard as usize)?.places.get(series as usize)?.slot
    }

    pub(crate) fn name(&self, id: BindingId) -> Option<&str> {
        self.bound.get(&id).map(|bound| bound.binding.name.as_str())
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let shards = self.bound.values().flat_map(|bound| &bound.shards);
        shards
            .map(|shard| {
                shard.pending.capacity() * size_of::<Pending>() + shard.places.capacity() * size_of::<Place>()
            })
            .sum::<usize>()
            + self.bound.values().map(|bound| bound.groups.len() * 160).sum::<usize>()
    }
}

fn group_key(series: &Series) -> GroupKey {
    (series.origin.tenant.0.clone(), (*series.origin.service).into(), (*series.name).into())
}

impl Bound {
    fn admit(
        &mut self,
        id: BindingId,
        slot: Slot,
        series: &Series,
        counters: &mut SignalsCounters,
    ) -> Option<Member> {
        if !self.binding.select.selects(series) {
            return None;
        }
        let room = self.binding.shard_series_max.max(1);
        let key = group_key(series);
        let shard_number = match self.groups.get(&key) {
            Some(group) => group.shard,
            None => self.shard_for_new_group(&series.origin.tenant, room),
        };
        let shard = self.shards.get_mut(shard_number as usize)?;
        if shard.live >= room {
            counters.series_unscored += 1;
            return None;
        }
        let groups_made = &mut self.groups_made;
        let group = self.groups.entry(key).or_insert_with(|| {
            *groups_made = groups_made.wrapping_add(1);
            Group { number: *groups_made, shard: shard_number, members: 0 }
        });
        group.members += 1;
        Some(Member { binding: id, shard: shard_number, id: shard.add(slot, group.number) })
    }

    /// The first shard that is not three quarters full, so that groups have room to grow; else a new one.
    fn shard_for_new_group(&mut self, tenant: &Tenant, room: u32) -> u32 {
        let nearly_full = room - room / 4;
        let found =
            (0..).zip(&self.shards).find(|(_, shard)| shard.tenant == *tenant && shard.live < nearly_full);
        match found {
            Some((number, _)) => number,
            None => {
                self.shards.push(Shard::new(tenant.clone()));
                // Bounded by the number of series.
                u32::try_from(self.shards.len() - 1).unwrap_or(u32::MAX)
            }
        }
    }

    fn dismiss(&mut self, member: &Member, series: &Series) {
        if let Some(shard) = self.shards.get_mut(member.shard as usize) {
            shard.remove(member.id);
        }
        let key = group_key(series);
        if let Some(group) = self.groups.get_mut(&key) {
            group.members = group.members.saturating_sub(1);
            if group.members == 0 {
                self.groups.remove(&key);
            }
        }
    }
}

impl Shard {
    fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            live: 0,
            places: Vec::new(),
            free: Vec::new(),
            free_soon: Vec::new(),
            added: Vec::new(),
            removed: Vec::new(),
            pending: Vec::new(),
            sequence: 0,
        }
    }

    fn add(&mut self, slot: Slot, group: u32) -> u32 {
        let place = Place { slot: Some(slot), group, told: false };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(own) = self.places.get_mut(id as usize) {
                    *own = place;
                }
                id
            }
            None => {
                self.places.push(place);
                u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.live += 1;
        self.added.push(id);
        id
    }

    fn remove(&mut self, id: u32) {
        let Some(place) = self.places.get_mut(id as usize) else { return };
        if place.slot.take().is_none() {
            return;
        }
        if place.told {
            self.removed.push(id);
        }
        self.free_soon.push(id);
        self.live -= 1;
    }

    fn take(&mut self, table: &SeriesTable, now: Now, scores: bool) -> Batch {
        self.sequence += 1;
        let mut batch = Batch {
            sequence: self.sequence,
            now: now.0.saturating_mul(1_000_000),
            removed: std::mem::take(&mut self.removed),
            scores,
            ..Batch::default()
        };
        let mut added = std::mem::take(&mut self.added);
        added.sort_unstable();
        added.dedup();
        for id in added {
            let Some(place) = self.places.get_mut(id as usize) else { continue };
            let Some(series) = place.slot.and_then(|slot| table.get(slot)) else { continue };
            place.told = true;
            batch.added.push(SeriesAdded {
                id,
                series: series.to_ref(),
                group: place.group,
                limit: series.limit,
                attributes: series.attributes_with_service(),
            });
        }
        self.take_columns(&mut batch);
        self.free.append(&mut self.free_soon);
        batch
    }

    /// Sorts the points by series, oldest first within each, by counting.
    fn take_columns(&mut self, batch: &mut Batch) {
        let pending = std::mem::take(&mut self.pending);
        batch.offsets.push(0);
        if pending.is_empty() {
            return;
        }
        let mut starts = vec![0_u32; self.places.len()];
        for point in &pending {
            if let Some(count) = starts.get_mut(point.id as usize) {
                *count += 1;
            }
        }
        let mut end = 0;
        for ((id, place), start) in (0..).zip(&self.places).zip(&mut starts) {
            let count = *start;
            *start = u32::MAX;
            if count > 0 && place.slot.is_some() {
                *start = end;
                end += count;
                batch.series.push(id);
                batch.offsets.push(end);
            }
        }
        batch.times = vec![0; end as usize];
        batch.values = vec![0.0; end as usize];
        batch.point_flags = vec![0; end as usize];
        for point in &pending {
            let Some(at) = starts.get_mut(point.id as usize).filter(|at| **at != u32::MAX) else { continue };
            let index = *at as usize;
            *at += 1;
            if let (Some(time), Some(value), Some(flags)) =
                (batch.times.get_mut(index), batch.values.get_mut(index), batch.point_flags.get_mut(index))
            {
                (*time, *value, *flags) = (point.time, point.value, point.flags);
            }
        }
        // The next batch will be about as large.
        self.pending = Vec::with_capacity(pending.len());
    }
}
