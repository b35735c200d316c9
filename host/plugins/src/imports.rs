//! What guests may call: log, clock, telemetry. Capabilities stand in `capabilities`.

use crate::{
    bindings::salve::plugin::{clock, log, telemetry, types},
    guest::GuestState,
    guest_log::GuestLogLevel,
};
use salve_model::{Attributes, call::Telemetry};
use std::{sync::Arc, time::Duration};

/// Attributes as the contract has them.
pub(crate) fn attributes(attributes: &Attributes) -> types::Attributes {
    attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl types::Host for GuestState {}

impl log::Host for GuestState {
    async fn write(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => GuestLogLevel::Debug,
            log::Level::Info => GuestLogLevel::Info,
            log::Level::Warn => GuestLogLevel::Warn,
            log::Level::Error => GuestLogLevel::Error,
        };
        self.log(level, &message, &fields);
        Ok(())
    }
}

impl clock::Host for GuestState {
    async fn now(&mut self) -> wasmtime::Result<u64> {
        self.count_host_call()?;
        if self.plugin.virtual_clock {
            return Ok(self.now_ns);
        }
        let passed_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(self.now_ns.saturating_add(passed_ns))
    }

    async fn sleep(&mut self, duration_ms: u32) -> wasmtime::Result<()> {
        self.count_host_call()?;
        if self.plugin.virtual_clock {
            self.now_ns = self.now_ns.saturating_add(u64::from(duration_ms) * 1_000_000);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(duration_ms.into())).await;
        Ok(())
    }
}

impl GuestState {
    /// Telemetry; empty answers if the caller gave none.
    fn ask<R: Default>(&mut self, question: impl FnOnce(&Arc<dyn Telemetry>) -> R) -> wasmtime::Result<R> {
        self.count_host_call()?;
        Ok(self.telemetry.as_ref().map(question).unwrap_or_default())
    }
}

impl telemetry::Host for GuestState {
    async fn services(&mut self, window: types::Window) -> wasmtime::Result<Vec<telemetry::ServiceStats>> {
        let found = self.ask(|telemetry| telemetry.services(window.from, window.to))?;
        let convert = |stats: salve_model::call::ServiceStats| telemetry::ServiceStats {
            service: stats.service,
            requests_per_second: stats.requests_per_second,
            error_ratio: stats.error_ratio,
            duration_mean_ms: stats.duration_mean_ms,
            duration_p95_ms: stats.duration_p95_ms,
            last_seen: stats.last_seen,
        };
        Ok(found.into_iter().map(convert).collect())
    }

    async fn edges(&mut self, window: types::Window) -> wasmtime::Result<Vec<telemetry::EdgeStats>> {
        let found = self.ask(|telemetry| telemetry.edges(window.from, window.to))?;
        let convert = |stats: salve_model::call::EdgeStats| telemetry::EdgeStats {
            caller: stats.caller,
            callee: stats.callee,
            requests_per_second: stats.requests_per_second,
            error_ratio: stats.error_ratio,
            duration_mean_ms: stats.duration_mean_ms,
        };
        Ok(found.into_iter().map(convert).collect())
    }

    async fn changes(&mut self, window: types::Window) -> wasmtime::Result<Vec<telemetry::Change>> {
        let found = self.ask(|telemetry| telemetry.changes(window.from, window.to))?;
        let convert = |change: salve_model::telemetry::Change| telemetry::Change {
            time: change.time.0,
            service: change.service,
            target: change.target.map(|target| target.0),
            kind: change.kind,
            what: change.what,
            before: change.before,
            after: change.after,
            author: change.author,
        };
        Ok(found.into_iter().map(convert).collect())
    }

    async fn find(
        &mut self,
        service: String,
        name_prefix: String,
    ) -> wasmtime::Result<Vec<telemetry::SeriesInfo>> {
        let found = self.ask(|telemetry| telemetry.find(&service, &name_prefix))?;
        let convert = |series: salve_model::call::SeriesInfo| telemetry::SeriesInfo {
            id: series.id,
            name: series.name,
            unit: series.unit,
            service: series.service,
            limit: series.limit,
            attributes: attributes(&series.attributes),
        };
        Ok(found.into_iter().map(convert).collect())
    }

    async fn points(
        &mut self,
        series: u32,
        window: types::Window,
    ) -> wasmtime::Result<Vec<telemetry::Point>> {
        let found = self.ask(|telemetry| telemetry.points(series, window.from, window.to))?;
        Ok(found.into_iter().map(|(time, value)| telemetry::Point { time, value }).collect())
    }
}
