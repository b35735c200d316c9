//! Traces, metrics and logs of one process, by the OpenTelemetry SDK over OTLP gRPC every half second.
//!
//! ## What always holds
//! - nothing here waits for the network: spans and logs go into bounded queues, which drop what is over
//! - a log line goes both to standard output (one JSON object a line) and over OTLP, with the trace it belongs to

use opentelemetry::{
    Context, KeyValue,
    logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity},
    metrics::{Meter, MeterProvider},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    logs::{BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, SdkLogger, SdkLoggerProvider},
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{BatchConfigBuilder as SpanBatchConfig, BatchSpanProcessor, SdkTracer, SdkTracerProvider},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How often each signal is exported.
const EXPORT_EVERY: Duration = Duration::from_millis(500);
/// How long one export may take before it is given up.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last export may take when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// Spans and log records that wait for export; about ten seconds of the surge.
const QUEUE_MAX: usize = 4096;

/// The three signals of one process.
pub(crate) struct Telemetry {
    service: &'static str,
    /// For spans.
    pub tracer: SdkTracer,
    /// For instruments.
    pub meter: Meter,
    logger: SdkLogger,
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    logs: SdkLoggerProvider,
}

impl Telemetry {
    /// Starts exporting to `endpoint` (for instance `http://127.0.0.1:4317`), whether or not anybody listens there.
    /// Call it within a tokio runtime.
    ///
    /// # Errors
    /// If `endpoint` is no valid URI.
    pub(crate) fn start(service: &'static str, endpoint: &str) -> anyhow::Result<Arc<Self>> {
        let resource = Resource::builder_empty()
            .with_service_name(service)
            .with_attributes([
                KeyValue::new("service.namespace", "shop"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();

        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let batches = SpanBatchConfig::default()
            .with_scheduled_delay(EXPORT_EVERY)
            .with_max_queue_size(QUEUE_MAX)
            .build();
        let traces = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .build();

        let exporter = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let metrics = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(PeriodicReader::builder(exporter).with_interval(EXPORT_EVERY).build())
            .build();

        let exporter = LogExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let batches = LogBatchConfig::default()
            .with_scheduled_delay(EXPORT_EVERY)
            .with_max_queue_size(QUEUE_MAX)
            .build();
        let logs = SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_log_processor(BatchLogProcessor::builder(exporter).with_batch_config(batches).build())
            .build();

        Ok(Arc::new(Self {
            service,
            tracer: traces.tracer("shop"),
            meter: metrics.meter("shop"),
            logger: logs.logger("shop"),
            traces,
            metrics,
            logs,
        }))
    }

    /// `service.name`.
    pub(crate) fn service(&self) -> &'static str {
        self.service
    }

    /// Writes one log record, with the trace that is current.
    pub(crate) fn log(&self, severity: Severity, body: &str, attributes: &[(&'static str, String)]) {
        let now = SystemTime::now();
        let mut record = self.logger.create_log_record();
        record.set_timestamp(now);
        record.set_severity_number(severity);
        record.set_severity_text(severity.name());
        record.set_body(AnyValue::from(body.to_owned()));
        record.add_attributes(attributes.iter().map(|(key, value)| (*key, value.clone())));
        self.logger.emit(record);

        let mut line = serde_json::Map::new();
        let unix_ms = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        line.insert("time_unix_ms".into(), unix_ms.into());
        line.insert("severity".into(), severity.name().into());
        line.insert("service".into(), self.service.into());
        line.insert("body".into(), body.into());
        Context::map_current(|context| {
            let span = context.span();
            if span.span_context().is_valid() {
                line.insert("trace_id".into(), span.span_context().trace_id().to_string().into());
            }
        });
        for (key, value) in attributes {
            line.insert((*key).into(), value.as_str().into());
        }
        use std::io::Write;
        // A closed standard output is no reason to stop serving.
        let _written = writeln!(std::io::stdout().lock(), "{}", serde_json::Value::Object(line));
    }

    /// Exports what waits, for at most half a second a signal, and stops.
    pub(crate) async fn stop(self: Arc<Self>) {
        // Shutting down blocks, and the exporters need the runtime meanwhile.
        let stopping = tokio::task::spawn_blocking(move || {
            // Nobody may be listening any more: nothing to be done about it.
            let _traces = self.traces.shutdown_with_timeout(FLUSH_TIMEOUT);
            let _metrics = self.metrics.shutdown_with_timeout(FLUSH_TIMEOUT);
            let _logs = self.logs.shutdown_with_timeout(FLUSH_TIMEOUT);
        });
        let _joined = tokio::time::timeout(3 * FLUSH_TIMEOUT, stopping).await;
    }
}
