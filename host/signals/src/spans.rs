//! Spans: which requests a service served, which calls it made, and which of them failed.

use crate::{
    counters::{Rejection, Tally},
    edges::{Call, Edges, NameId},
    red::{Buckets, Timing},
    services::{Request, Resources, ServiceId, Services},
    store::Store,
};
use salve_model::Tenant;
use salve_otlp::{Attributes, Resource, Scope, Span, SpanKind, TracesVisitor, Value};

/// What a span's attributes say about its request.
#[derive(Debug, Default, PartialEq)]
struct Facts<'a> {
    http_status: Option<i64>,
    grpc_status: Option<i64>,
    peer: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<i64>,
}

impl<'a> Facts<'a> {
    /// Reads the attributes once. Names are those of the semantic conventions, present and past; the present one counts
    /// if both are there.
    fn of(attributes: &Attributes<'a>) -> Self {
        let mut facts = Self::default();
        let mut ranks = [u8::MAX; 3];
        for (name, value) in attributes.iter() {
            match name {
                "http.response.status_code" => facts.http_status = number(value),
                "http.status_code" => facts.http_status = facts.http_status.or(number(value)),
                "rpc.grpc.status_code" => facts.grpc_status = number(value),
                "rpc.response.status_code" => facts.grpc_status = grpc_code(value).or(facts.grpc_status),
                "service.peer.name" => better(&mut facts.peer, &mut ranks[0], 0, value.as_str()),
                "peer.service" => better(&mut facts.peer, &mut ranks[0], 1, value.as_str()),
                "server.address" => better(&mut facts.host, &mut ranks[1], 0, value.as_str()),
                "net.peer.name" => better(&mut facts.host, &mut ranks[1], 1, value.as_str()),
                "network.peer.address" => better(&mut facts.host, &mut ranks[1], 2, value.as_str()),
                "server.port" => better(&mut facts.port, &mut ranks[2], 0, number(value)),
                "net.peer.port" => better(&mut facts.port, &mut ranks[2], 1, number(value)),
                "network.peer.port" => better(&mut facts.port, &mut ranks[2], 2, number(value)),
                _ => {}
            }
        }
        facts
    }

    /// Whether the request failed, by fault of the one who served it.
    ///
    /// An HTTP status decides alone where it can: 5xx failed, 4xx is the caller's fault. Of gRPC those codes fail that the
    /// semantic conventions count as errors of a server; CANCELLED is the caller giving up. Otherwise the span's status
    /// decides. Source: OpenTelemetry semantic conventions, HTTP and gRPC spans, "status".
    fn failed(&self, error: bool) -> bool {
        match (self.http_status, self.grpc_status) {
            (Some(400..=499), _) => false,
            (Some(500..), _) => true,
            // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS
            (_, Some(2 | 4 | 12 | 13 | 14 | 15)) => true,
            (_, Some(1..=16)) => false,
            _ => error,
        }
    }
}

/// Keeps the value with the lowest rank.
fn better<T>(own: &mut Option<T>, own_rank: &mut u8, rank: u8, value: Option<T>) {
    if rank <= *own_rank && value.is_some() {
        *own = value;
        *own_rank = rank;
    }
}

fn number(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// The code of a gRPC status by name or number.
fn grpc_code(value: Value<'_>) -> Option<i64> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let by_name = value.as_str().and_then(|text| (0..).zip(NAMES).find(|(_, name)| *name == text));
    by_name.map(|(code, _)| code).or_else(|| number(value))
}

/// Takes the spans of one request in.
pub(crate) struct SpanIntake<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) now_ms: u64,
    pub(crate) buckets: Buckets,
    pub(crate) store: &'a mut Store,
    pub(crate) resources: &'a mut Resources,
    pub(crate) services: &'a mut Services,
    pub(crate) edges: &'a mut Edges,
    pub(crate) tally: Tally,
    pub(crate) place: Place,
}

/// Where the records that come next belong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// There is no room for the resource.
    #[default]
    Nowhere,
    /// It names no service.
    NoService,
    /// There is no room for the service.
    NoRoom,
    /// A service.
    At(ServiceId),
}

impl Place {
    /// Where a resource's records belong.
    pub(crate) fn of(
        resource: &Resource<'_>,
        tenant: &Tenant,
        now_ms: u64,
        resources: &mut Resources,
        services: &mut Services,
        store: &mut Store,
    ) -> Self {
        let hash = resources.hash(tenant, &resource.attributes);
        if !resources.hear(hash, tenant, &resource.attributes, now_ms, services, store) {
            return Self::Nowhere;
        }
        match resources.get(hash) {
            Some(known) if known.origin.service.is_empty() => Self::NoService,
            Some(known) => known.service.map_or(Self::NoRoom, Self::At),
            None => Self::Nowhere,
        }
    }
}

impl SpanIntake<'_> {
    fn take_in(&mut self, span: &Span<'_>) -> Result<(), Rejection> {
        if span.end_time == 0 || span.start_time == 0 || span.end_time < span.start_time {
            return Err(Rejection::SpanTimes);
        }
        let end_ms = span.end_time / 1_000_000;
        if end_ms > self.now_ms.saturating_add(self.store.config.future_max_ms) {
            return Err(Rejection::Future);
        }
        let service = match self.place {
            Place::Nowhere => return Err(Rejection::ResourceLimit),
            Place::At(service) => service,
            Place::NoService => {
                self.store.counters.without_service += 1;
                return Ok(());
            }
            Place::NoRoom => {
                self.store.counters.services_over_limit += 1;
                return Ok(());
            }
        };
        let timing = match span.kind {
            SpanKind::Server | SpanKind::Consumer => self.served(service, span, end_ms),
            SpanKind::Client | SpanKind::Producer => self.called(service, span, end_ms),
            SpanKind::Internal | SpanKind::Unspecified => Timing::InTime,
        };
        match timing {
            Timing::InTime => {}
            Timing::Late => self.store.counters.spans_late += 1,
            Timing::TooOld => self.store.counters.spans_too_old += 1,
        }
        Ok(())
    }

    fn served(&mut self, id: ServiceId, span: &Span<'_>, end_ms: u64) -> Timing {
        let bucket = self.buckets.index_of(end_ms);
        let Some(service) = self.services.get_mut(id) else { return Timing::TooOld };
        let request = Request {
            operation: span.name,
            bucket,
            duration_ms: duration_ms(span),
            failed: Facts::of(&span.attributes).failed(span.error),
            now_ms: self.now_ms,
        };
        let timing = service.serve(&request, self.buckets, self.store);
        self.edges.serve(id, bucket, span, self.buckets, self.services, self.store);
        timing
    }

    fn called(&mut self, caller: ServiceId, span: &Span<'_>, end_ms: u64) -> Timing {
        let facts = Facts::of(&span.attributes);
        let mut name = |host: Option<&str>, port: Option<i64>| -> Option<NameId> {
            self.edges.name(caller, host?, port, self.now_ms, self.store)
        };
        let call = Call {
            caller,
            bucket: self.buckets.index_of(end_ms),
            duration_ms: duration_ms(span),
            failed: facts.failed(span.error),
            now_ms: self.now_ms,
            peer: name(facts.peer, None),
            address: name(facts.host, facts.port),
        };
        self.edges.call(call, span, self.buckets, self.services, self.store)
    }
}

fn duration_ms(span: &Span<'_>) -> f64 {
    span.end_time.saturating_sub(span.start_time) as f64 / 1e6
}

impl TracesVisitor for SpanIntake<'_> {
    fn resource(&mut self, resource: Resource<'_>) {
        self.place =
            Place::of(&resource, self.tenant, self.now_ms, self.resources, self.services, self.store);
    }

    fn scope(&mut self, _: Scope<'_>) {}

    fn span(&mut self, span: Span<'_>) {
        match self.take_in(&span) {
            Ok(()) => {
                self.tally.accepted += 1;
                self.store.counters.spans += 1;
            }
            Err(why) => self.tally.reject(why, &mut self.store.counters),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: who is at fault decides, not who complains: callers' mistakes and cancellations are no failures.
    #[test]
    fn failures() {
        let facts = |http_status, grpc_status| Facts { http_status, grpc_status, ..Facts::default() };
        for (facts, error, expected) in [
            (facts(None, None), false, false),
            (facts(None, None), true, true),
            (facts(Some(200), None), true, true),
            (facts(Some(404), None), true, false),
            (facts(Some(499), None), true, false),
            (facts(Some(500), None), false, true),
            (facts(Some(503), Some(0)), false, true),
            (facts(None, Some(0)), true, true),
            (facts(None, Some(1)), true, false),
            (facts(None, Some(4)), false, true),
            (facts(None, Some(5)), true, false),
            (facts(None, Some(13)), false, true),
            (facts(None, Some(14)), true, true),
            (facts(None, Some(16)), true, false),
            (facts(None, Some(99)), true, true),
        ] {
            assert_eq!(facts.failed(error), expected, "{facts:?}, error {error}");
        }
        assert_eq!(grpc_code(Value::String("UNAVAILABLE")), Some(14));
        assert_eq!(grpc_code(Value::String("14")), Some(14));
        assert_eq!(grpc_code(Value::Int(14)), Some(14));
        assert_eq!(grpc_code(Value::String("teapot")), None);
    }
}
