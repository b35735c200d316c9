//! Brokers that answer at once, for measuring what lies around them.

use salve_model::{
    call::{
        BoxFuture, CallError, EdgeStats, ProcessStatus, Read, ReadAnswer, SeriesInfo, ServiceStats, Session,
        Telemetry, Write, WriteAnswer,
    },
    telemetry::Change,
};

/// Every process runs, no write succeeds, and no telemetry has come.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce;

impl Session for AtOnce {
    fn read(&self, _: Read) -> BoxFuture<'_, Result<ReadAnswer, CallError>> {
        let status = ProcessStatus {
            pid: Some(1),
            started: Some(1),
            state: "running".into(),
            ..ProcessStatus::default()
        };
        Box::pin(async move { Ok(ReadAnswer::ProcessStatus(status)) })
    }
    fn write(&self, _: Write) -> BoxFuture<'_, Result<WriteAnswer, CallError>> {
        Box::pin(async { Err(CallError::TimedOut) })
    }
}

impl Telemetry for AtOnce {
    fn services(&self, _: u64, _: u64) -> Vec<ServiceStats> {
        Vec::new()
    }
    fn edges(&self, _: u64, _: u64) -> Vec<EdgeStats> {
        Vec::new()
    }
    fn changes(&self, _: u64, _: u64) -> Vec<Change> {
        Vec::new()
    }
    fn find(&self, _: &str, _: &str) -> Vec<SeriesInfo> {
        Vec::new()
    }
    fn points(&self, _: u32, _: u64, _: u64) -> Vec<(u64, f64)> {
        Vec::new()
    }
}
