//! What measuring needs and running does not.

use crate::{
    call::{self, Reach},
    error::GuestError,
    host::{Plugin, PluginHost},
};
use salve_model::{
    Tenant,
    call::{EdgeStats, SeriesInfo, ServiceStats, Telemetry},
    telemetry::Change,
};
use std::sync::Arc;

impl PluginHost {
    /// Makes a fresh instance as a call does, on a guest thread, and drops it without calling it.
    ///
    /// # Errors
    /// [`GuestError`]: it does not start.
    pub async fn instantiate(&self, plugin: &Arc<Plugin>) -> Result<(), GuestError> {
        let reach = Reach {
            context: String::new(),
            tenant: Tenant::default(),
            telemetry: Arc::new(Nothing),
            session: None,
            now_ns: 0,
        };
        call::fresh(&self.0, plugin, "instantiate", reach, |_, _| Box::pin(async { Ok(()) })).await
    }
}

/// No telemetry.
struct Nothing;

impl Telemetry for Nothing {
    fn services(&self, _from: u64, _to: u64) -> Vec<ServiceStats> {
        Vec::new()
    }
    fn edges(&self, _from: u64, _to: u64) -> Vec<EdgeStats> {
        Vec::new()
    }
    fn changes(&self, _from: u64, _to: u64) -> Vec<Change> {
        Vec::new()
    }
    fn find(&self, _service: &str, _name_prefix: &str) -> Vec<SeriesInfo> {
        Vec::new()
    }
    fn points(&self, _series: u32, _from: u64, _to: u64) -> Vec<(u64, f64)> {
        Vec::new()
    }
}
