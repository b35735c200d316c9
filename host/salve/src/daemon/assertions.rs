//! Whether a sender may claim what its telemetry claims: only proven attributes may select targets.

use salve_ingest::{Assertions, Signal};
use salve_otlp::{
    ExponentialHistogramPoint, HistogramPoint, LogRecord, LogsVisitor, Metric, MetricsVisitor, NumberPoint,
    Resource, Scope, Span, SummaryPoint, TracesVisitor, Value,
};
use std::collections::BTreeSet;

/// The first claim of `request` about one of `attributes` that `assertions` do not cover, as `name=value`, with the number
/// of points, spans or records in the request.
pub fn first_unproven(
    signal: Signal,
    assertions: &Assertions,
    attributes: &BTreeSet<String>,
    request: &[u8],
) -> Option<(u64, String)> {
    let mut check = Check { assertions, attributes, items: 0, unproven: None };
    let walked = match signal {
        Signal::Metrics => salve_otlp::walk_metrics(request, &mut check),
        Signal::Traces => salve_otlp::walk_traces(request, &mut check),
        Signal::Logs => salve_otlp::walk_logs(request, &mut check),
    };
    // The request was checked when it came in; if a walk fails all the same, nothing of it is proven.
    let unproven = check.unproven.or_else(|| walked.is_err().then(|| "what cannot be read".to_owned()))?;
    Some((check.items, unproven))
}

struct Check<'a> {
    assertions: &'a Assertions,
    attributes: &'a BTreeSet<String>,
    items: u64,
    unproven: Option<String>,
}

impl Check<'_> {
    fn look_at(&mut self, resource: Resource<'_>) {
        for (name, value) in resource.attributes.iter() {
            if self.unproven.is_some() || !self.attributes.contains(name) {
                continue;
            }
            let proven = match value {
                Value::String(value) => self.assertions.allows(name, value),
                // Targets are selected by text; anything else selects nothing.
                _ => true,
            };
            if !proven {
                self.unproven = Some(format!("{name}={value:?}"));
            }
        }
    }
}

impl MetricsVisitor for Check<'_> {
    fn resource(&mut self, resource: Resource<'_>) {
        self.look_at(resource);
    }
    fn scope(&mut self, _: Scope<'_>) {}
    fn metric(&mut self, _: Metric<'_>) {}
    fn number(&mut self, _: NumberPoint<'_>) {
        self.items += 1;
    }
    fn histogram(&mut self, _: HistogramPoint<'_>) {
        self.items += 1;
    }
    fn exponential_histogram(&mut self, _: ExponentialHistogramPoint<'_>) {
        self.items += 1;
    }
    fn summary(&mut self, _: SummaryPoint<'_>) {
        self.items += 1;
    }
}

impl TracesVisitor for Check<'_> {
    fn resource(&mut self, resource: Resource<'_>) {
        self.look_at(resource);
    }
    fn scope(&mut self, _: Scope<'_>) {}
    fn span(&mut self, _: Span<'_>) {
        self.items += 1;
    }
}

impl LogsVisitor for Check<'_> {
    fn resource(&mut self, resource: Resource<'_>) {
        self.look_at(resource);
    }
    fn scope(&mut self, _: Scope<'_>) {}
    fn log_record(&mut self, _: LogRecord<'_>) {
        self.items += 1;
    }
}
