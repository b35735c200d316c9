//! Whether supervised processes run, as the series `process.up`: one more signal for the same flow. It enters as OTLP, by
//! the same door as everybody's.

use super::Daemon;
use salve_capabilities::UnitState;
use salve_ingest::Signal;
use salve_model::{Attributes, Tenant, time::Now};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Name of the series.
const NAME: &str = "process.up";
/// Longest request; a unit takes about 300 bytes.
const BYTES_MAX: u64 = 16 << 20;
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
            let request =
                salve_ingest::protobuf_of_json(Signal::Metrics, request.to_string().as_bytes(), BYTES_MAX);
            match request {
                Some(request) => daemon.signals.run(move |signals| {
                    signals.apply(salve_signals::Signal::Metrics, &Tenant::default(), &request, now);
                }),
                None => tracing::error!("The states of processes are no OTLP of at most {BYTES_MAX} bytes."),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            // Lagged or closed: the next point says the same.
            _ = events.recv() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// The export request, in OTLP's JSON.
fn request<'a>(units: impl Iterator<Item = (&'a UnitState, Attributes)>, now: Now) -> Value {
    let resource_metrics = units.map(|(unit, attributes)| {
        let own = std::iter::once(attribute(salve_signals::REPORTED_BY, "salve"));
        let attributes: Vec<_> =
            attributes.iter().map(|(name, value)| attribute(name, value)).chain(own).collect();
        let point = json!({
            "timeUnixNano": now.0.saturating_mul(1_000_000),
            "attributes": [attribute("salve.process", &unit.unit)],
            "asInt": i64::from(unit.pid.is_some()),
        });
        json!({
            "resource": {"attributes": attributes},
            "scopeMetrics": [{"metrics": [{"name": NAME, "unit": "1", "gauge": {"dataPoints": [point]}}]}],
        })
    });
    json!({"resourceMetrics": resource_metrics.collect::<Vec<_>>()})
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}
