//! Whether supervised processes run, as the series `process.up`: one more signal for the same flow. It enters as OTLP, by
//! the same door as everybody's.

use super::Daemon;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point},
    resource::v1::Resource,
};
use prost::Message;
use salve_capabilities::UnitState;
use salve_model::{Attributes, Tenant, time::Now};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Name of the series.
const NAME: &str = "process.up";
/// Time between two points of a process whose state does not change.
const PERIOD: Duration = Duration::from_secs(1);

/// Reports all units every second, and at once when one starts or ends, until the daemon stops.
pub async fn report(daemon: Arc<Daemon>) {
    let mut stopping = daemon.stopping.subscribe();
    let mut events = daemon.brokers.process_events();
    loop {
        if daemon.config().process_up {
            let units = daemon.brokers.unit_states();
            let targets: BTreeMap<_, _> =
                daemon.brokers.targets().into_iter().map(|target| (target.id, target.attributes)).collect();
            let attributes =
                |unit: &UnitState| unit.targets.first().and_then(|target| targets.get(target)).cloned();
            let now = daemon.clock.now();
            let request = request(units.iter().map(|unit| (unit, attributes(unit).unwrap_or_default())), now);
            daemon.signals.run(move |signals| {
                signals.apply(salve_signals::Signal::Metrics, &Tenant::default(), &request, now);
            });
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            // Lagged or closed: the next point says the same.
            _ = events.recv() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

fn request<'a>(units: impl Iterator<Item = (&'a UnitState, Attributes)>, now: Now) -> Vec<u8> {
    let resource_metrics = units.map(|(unit, attributes)| {
        let point = NumberDataPoint {
            time_unix_nano: now.0.saturating_mul(1_000_000),
            attributes: vec![attribute("salve.process", &unit.unit)],
            value: Some(number_data_point::Value::AsInt(i64::from(unit.pid.is_some()))),
            ..NumberDataPoint::default()
        };
        let gauge = metric::Data::Gauge(Gauge { data_points: vec![point] });
        let metric = Metric { name: NAME.into(), unit: "1".into(), data: Some(gauge), ..Metric::default() };
        let own = std::iter::once(attribute(salve_signals::REPORTED_BY, "salve"));
        let attributes = attributes.iter().map(|(name, value)| attribute(name, value)).chain(own).collect();
        ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }
    });
    ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }.encode_to_vec()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}
