//! The shop as a whole: four real processes, and a collector in the test that takes what they export.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{Span, span::SpanKind},
};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tonic::{Request, Response, Status};

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Everything that came in, by service.
#[derive(Default)]
struct Received {
    spans: Vec<(String, Span)>,
    metrics: BTreeSet<(String, String)>,
    /// Service, severity, body.
    logs: BTreeSet<(String, String, String)>,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Received>>);

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn service(resource: Option<Resource>) -> String {
    resource.and_then(|resource| text(&resource.attributes, "service.name")).unwrap_or_default()
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = service(resource.resource);
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().spans.extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for resource in request.into_inner().resource_metrics {
            let service = service(resource.resource);
            let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            self.0.lock().unwrap().metrics.extend(metrics.map(|metric| (service.clone(), metric.name)));
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        for resource in request.into_inner().resource_logs {
            let service = service(resource.resource);
            for record in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                let body = match record.body.and_then(|body| body.value) {
                    Some(Value::StringValue(body)) => body,
                    _ => String::new(),
                };
                self.0.lock().unwrap().logs.insert((service.clone(), record.severity_text, body));
            }
        }
        Ok(Response::new(Default::default()))
    }
}

impl Collector {
    fn start() -> (Self, SocketAddr, tokio::runtime::Runtime) {
        let collector = Self::default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let [port] = salve_ports::free().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()));
        runtime.spawn(async move { server.serve(address).await.unwrap() });
        (collector, address, runtime)
    }

    /// Waits until `found` is true of what came in.
    fn wait_for(&self, what: &str, found: impl Fn(&Received) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        while !found(&self.0.lock().unwrap()) {
            assert!(Instant::now() < deadline, "never seen: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A process that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn process(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salve-demo-shop"));
    Process(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    // As careful writers do: whole, or not at all.
    let fresh = folder.join(format!("{name}.new"));
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, folder.join(name)).unwrap();
    folder.join(name).display().to_string()
}

/// Scenario: customers order; then somebody writes a currency that nobody knows into the gateway's file, then broken
/// syntax, then the right value.
/// Guarantees: one trace runs through all four processes in parent and child spans; all three signals arrive under the
/// right `service.name`; a wrong value makes the gateway's own spans fail while its callees stay well; broken syntax
/// changes nothing; orders go through again in the end.
#[test]
fn the_shop_tells_what_happens_to_it() {
    let (collector, otlp, _runtime) = Collector::start();
    let otlp = format!("http://{otlp}");
    let folder = tempfile::tempdir().unwrap();
    let [gateway, checkout, inventory, gateway_admin, checkout_admin, inventory_admin, load_admin] =
        salve_ports::free().unwrap();
    let gateway_toml = |currency: &str| {
        format!(
            "# The front door.\nlisten = \"127.0.0.1:{gateway}\"\nadmin_listen = \"127.0.0.1:{gateway_admin}\"\n\
             checkout_url = \"http://127.0.0.1:{checkout}\"\ncheckout_timeout_ms = 800\nworkers = 64\n\
             queue_timeout_ms = 200\ncurrency = {currency}\n"
        )
    };
    let gateway_file = write(folder.path(), "gateway.toml", &gateway_toml("\"EUR\""));
    let checkout_file = write(
        folder.path(),
        "checkout.yaml",
        &format!(
            "# The till.\nlisten: 127.0.0.1:{checkout}\nadmin_listen: 127.0.0.1:{checkout_admin}\n\
             inventory_url: http://127.0.0.1:{inventory}\ninventory_timeout_ms: 500\nworkers: 12\n\
             queue_timeout_ms: 200\ntax_table: standard\n"
        ),
    );
    let inventory_file = write(
        folder.path(),
        "inventory.json",
        &format!(
            "{{\"listen\": \"127.0.0.1:{inventory}\", \"admin_listen\": \"127.0.0.1:{inventory_admin}\", \
             \"workers\": 8, \"queue_timeout_ms\": 200, \"warehouse\": \"north\"}}"
        ),
    );
    let _inventory = process(&["inventory", "--config", &inventory_file, "--otlp-endpoint", &otlp]);
    let _checkout = process(&["checkout", "--config", &checkout_file, "--otlp-endpoint", &otlp]);
    let _gateway = process(&[
        "gateway",
        "--config",
        &gateway_file,
        "--otlp-endpoint",
        &otlp,
        "--memory-limit-bytes",
        "268435456",
    ]);
    let _load = process(&[
        "load",
        "--gateway-url",
        &format!("http://127.0.0.1:{gateway}"),
        "--otlp-endpoint",
        &otlp,
        "--admin-listen",
        &format!("127.0.0.1:{load_admin}"),
    ]);

    collector.wait_for("a trace through all four", |received| {
        received
            .spans
            .iter()
            .any(|(service, span)| service == "inventory" && path(received, span) == FULL_PATH)
    });
    collector.wait_for("metrics of all", |received| {
        [
            ("gateway", "http.server.request.duration"),
            ("gateway", "process.memory.limit"),
            ("checkout", "process.memory.usage"),
            ("inventory", "shop.workers"),
            ("customers", "shop.orders"),
            ("customers", "shop.orders.failed"),
            ("customers", "shop.revenue"),
        ]
        .iter()
        .all(|(service, metric)| received.metrics.contains(&((*service).to_owned(), (*metric).to_owned())))
    });

    write(folder.path(), "gateway.toml", &gateway_toml("\"EUX\""));
    collector.wait_for("errors of the gateway's own", |received| {
        received.spans.iter().any(|(service, span)| {
            service == "gateway"
                && span.kind == SpanKind::Server as i32
                && span.status.as_ref().is_some_and(|status| status.code == 2)
                && text(&span.attributes, "error.type").as_deref() == Some("unknown_currency")
        })
    });
    let error = "no exchange rate for currency `EUX`".to_owned();
    collector.wait_for("its log", |received| {
        received.logs.contains(&("gateway".into(), "ERROR".into(), error.clone()))
    });
    let callees_failed = collector.0.lock().unwrap().spans.iter().any(|(service, span)| {
        matches!(service.as_str(), "checkout" | "inventory")
            && text(&span.attributes, "error.type").is_some_and(|error| error.starts_with("unknown"))
    });
    assert!(!callees_failed);

    write(folder.path(), "gateway.toml", &gateway_toml("\"EUR"));
    collector.wait_for("a refused configuration", |received| {
        received.logs.iter().any(|(service, severity, body)| {
            service == "gateway" && severity == "ERROR" && body.starts_with("configuration refused")
        })
    });
    write(folder.path(), "gateway.toml", &gateway_toml("\"EUR\""));
    collector.0.lock().unwrap().spans.clear();
    collector.wait_for("orders that go through again", |received| {
        received
            .spans
            .iter()
            .any(|(service, span)| service == "inventory" && path(received, span) == FULL_PATH)
    });
}

const FULL_PATH: &str = "inventory server < checkout client < checkout server < gateway client < gateway server \
                         < customers client";

/// The way from a span up to its root, by parents of the same trace.
fn path(received: &Received, span: &Span) -> String {
    let mut steps = Vec::new();
    let mut current = Some(span);
    while let Some(span) = current {
        let service =
            received.spans.iter().find(|(_, other)| other.span_id == span.span_id).map(|found| &found.0);
        let kind = if span.kind == SpanKind::Server as i32 { "server" } else { "client" };
        steps.push(format!("{} {kind}", service.unwrap()));
        current = received
            .spans
            .iter()
            .map(|(_, other)| other)
            .find(|other| other.span_id == span.parent_span_id && other.trace_id == span.trace_id);
    }
    steps.join(" < ")
}

/// Scenario: a service with a limit of 96 MiB leaks 64 MiB a second, with nobody listening to its telemetry.
/// Guarantees: the limit is real (the process dies by itself), and until then it answers although no telemetry can be
/// delivered.
#[test]
fn a_leak_ends_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let [listen, admin, nobody] = salve_ports::free().unwrap();
    let file = write(
        folder.path(),
        "inventory.json",
        &format!(
            "{{\"listen\": \"127.0.0.1:{listen}\", \"admin_listen\": \"127.0.0.1:{admin}\", \"workers\": 8, \
             \"queue_timeout_ms\": 200, \"warehouse\": \"north\"}}"
        ),
    );
    let endpoint = format!("http://127.0.0.1:{nobody}");
    let limit = (96_u64 << 20).to_string();
    let mut inventory = process(&[
        "inventory",
        "--config",
        &file,
        "--otlp-endpoint",
        &endpoint,
        "--memory-limit-bytes",
        &limit,
    ]);
    let status = wait_for_answer(admin, "GET /admin/status", "");
    assert!(status.contains("\"memory_limit_bytes\":100663296"), "{status}");
    let reserved = wait_for_answer(listen, "POST /reservations", "{\"item\":\"tea\",\"quantity\":2}");
    assert!(reserved.contains("\"price_euros\":12.8"), "{reserved}");
    wait_for_answer(admin, "POST /admin/leak", "{\"bytes_per_second\":67108864}");
    let deadline = Instant::now() + WAIT_MAX;
    let ended = loop {
        if let Some(ended) = inventory.0.try_wait().unwrap() {
            break ended;
        }
        assert!(Instant::now() < deadline, "it never reached its limit");
        std::thread::sleep(Duration::from_millis(20));
    };
    // SIGABRT: Rust's answer to an allocation that fails.
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(6));
}

/// One HTTP request, tried until somebody answers.
fn wait_for_answer(port: u16, request: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let answer = (|| {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            let length = body.len();
            write!(
                stream,
                "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{body}"
            )
            .ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.starts_with("HTTP/1.1 200").then_some(answer)
        })();
        if let Some(answer) = answer {
            return answer;
        }
        assert!(Instant::now() < deadline, "no good answer to {request}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
