//! Log records: how many of each severity a service writes.

use crate::{
    counters::{Rejection, Tally},
    red::{Buckets, Timing},
    services::{Resources, Services},
    spans::Place,
    store::Store,
};
use salve_model::Tenant;
use salve_otlp::{LogRecord, LogsVisitor, Resource, Scope};

/// Takes the log records of one request in.
pub(crate) struct RecordIntake<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) now_ms: u64,
    pub(crate) buckets: Buckets,
    pub(crate) store: &'a mut Store,
    pub(crate) resources: &'a mut Resources,
    pub(crate) services: &'a mut Services,
    pub(crate) tally: Tally,
    pub(crate) place: Place,
}

impl RecordIntake<'_> {
    fn take_in(&mut self, record: &LogRecord<'_>) -> Result<(), Rejection> {
        let mut time_ms = record.time / 1_000_000;
        if record.time == 0 {
            self.store.counters.times_missing += 1;
            time_ms = self.now_ms;
        }
        if time_ms > self.now_ms.saturating_add(self.store.config.future_max_ms) {
            return Err(Rejection::Future);
        }
        let service = match self.place {
            Place::Nowhere => return Err(Rejection::ResourceLimit),
            Place::At(id) => self.services.get_mut(id),
            Place::NoService => {
                self.store.counters.without_service += 1;
                None
            }
            Place::NoRoom => {
                self.store.counters.services_over_limit += 1;
                None
            }
        };
        if let Some(service) = service {
            let bucket = self.buckets.index_of(time_ms);
            let timing = service.log(record.severity_number, bucket, self.now_ms, self.buckets, self.store);
            if timing != Timing::InTime {
                self.store.counters.log_records_late += 1;
            }
        }
        Ok(())
    }
}

impl LogsVisitor for RecordIntake<'_> {
    fn resource(&mut self, resource: Resource<'_>) {
        self.place =
            Place::of(&resource, self.tenant, self.now_ms, self.resources, self.services, self.store);
    }

    fn scope(&mut self, _: Scope<'_>) {}

    fn log_record(&mut self, record: LogRecord<'_>) {
        match self.take_in(&record) {
            Ok(()) => {
                self.tally.accepted += 1;
                self.store.counters.log_records += 1;
            }
            Err(why) => self.tally.reject(why, &mut self.store.counters),
        }
    }
}
