//! Whether supervised processes run, as the series `process.up`: one more signal for the same flow. It enters as OTLP, by
//! the same door as everybody's.

use super::Daemon;
use salve_capabilities::UnitState;
use salve_ingest::Signal;
use salve_model::{Attributes, Target, Tenant, time::Now};
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
            let now = daemon.clock.now();
            for (tenant, units) in by_tenant(&units, &daemon.brokers.targets()) {
                let request = request(units.into_iter(), now);
                let request = salve_ingest::protobuf_of_json(
                    Signal::Metrics,
                    request.to_string().as_bytes(),
                    BYTES_MAX,
                );
                match request {
                    Some(request) => daemon.signals.run(move |signals| {
                        signals.apply(salve_signals::Signal::Metrics, &tenant, &request, now);
                    }),
                    None => {
                        tracing::error!("The states of processes are no OTLP of at most {BYTES_MAX} bytes.")
                    }
                }
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

/// Units as each tenant sees them: under the attributes of its first target that stands for them. One for which no target stands
/// is `default`'s.
fn by_tenant<'a>(
    units: &'a [UnitState],
    targets: &[Target],
) -> BTreeMap<Tenant, Vec<(&'a UnitState, Attributes)>> {
    let mut by_tenant = BTreeMap::<Tenant, Vec<_>>::new();
    for unit in units {
        let stands_for = targets.iter().filter(|target| unit.targets.contains(&target.id));
        let mut seen = BTreeMap::new();
        for target in stands_for {
            seen.entry(target.tenant.clone()).or_insert_with(|| target.attributes.clone());
        }
        if seen.is_empty() {
            seen.insert(Tenant::default(), Attributes::new());
        }
        for (tenant, attributes) in seen {
            by_tenant.entry(tenant).or_default().push((unit, attributes));
        }
    }
    by_tenant
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
