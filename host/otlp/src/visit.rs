//! What visitors are told. Everything borrows from the request's bytes.

/// Attributes still in their encoded form: the concatenated `KeyValue` messages of one resource, scope or point.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    // Filled in by the walker: the enclosing message and its attribute field number.
    pub(crate) message: &'a [u8],
    pub(crate) field: u32,
}

/// An attribute's value. Arrays and maps stay encoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Text.
    String(&'a str),
    /// Truth.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Number.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An `ArrayValue` or `KeyValueList` message.
    Composite(&'a [u8]),
    /// No value.
    Empty,
}

/// Temporality of sums and histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// Not stated: treated as cumulative.
    Unspecified,
    /// Each point counts since the last.
    Delta,
    /// Each point counts since the start time.
    Cumulative,
}

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Last value.
    Gauge,
    /// Sum.
    Sum {
        /// Delta or cumulative.
        temporality: Temporality,
        /// Never falls but at a reset.
        monotonic: bool,
    },
    /// Explicit buckets.
    Histogram(Temporality),
    /// Exponential buckets.
    ExponentialHistogram(Temporality),
    /// Quantiles.
    Summary,
    /// No data field.
    Empty,
}

/// Name, unit and kind of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric<'a> {
    /// For instance `http.server.request.duration`.
    pub name: &'a str,
    /// UCUM.
    pub unit: &'a str,
    /// With temporality.
    pub kind: MetricKind,
}

/// A point of a gauge or sum.
#[derive(Debug, Clone, Copy)]
pub struct NumberPoint<'a> {
    /// Encoded.
    pub attributes: Attributes<'a>,
    /// Unix nanoseconds; 0 if not given.
    pub start_time: u64,
    /// Unix nanoseconds.
    pub time: u64,
    /// Integers as floats. None: flagged "no recorded value" or no value given.
    pub value: Option<f64>,
}

/// A packed or unpacked repeated number field, still encoded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Numbers<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) field: u32,
    /// Packed as varints rather than as eight bytes each.
    pub(crate) varint: bool,
}

/// A point of a histogram with explicit bounds.
#[derive(Debug, Clone, Copy)]
pub struct HistogramPoint<'a> {
    /// Encoded.
    pub attributes: Attributes<'a>,
    /// Unix nanoseconds; 0 if not given.
    pub start_time: u64,
    /// Unix nanoseconds.
    pub time: u64,
    /// Number of values.
    pub count: u64,
    /// Sum of values, if given.
    pub sum: Option<f64>,
    /// One more than bounds, or empty.
    pub bucket_counts: Numbers<'a>,
    /// Upper bounds.
    pub explicit_bounds: Numbers<'a>,
    /// Smallest, if given.
    pub min: Option<f64>,
    /// Largest, if given.
    pub max: Option<f64>,
    /// Flag "no recorded value".
    pub no_recorded_value: bool,
}

/// One side of an exponential histogram.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExponentialBuckets<'a> {
    /// Index of the first count.
    pub offset: i32,
    /// Counts.
    pub counts: Numbers<'a>,
}

/// A point of an exponential histogram.
#[derive(Debug, Clone, Copy)]
pub struct ExponentialHistogramPoint<'a> {
    /// Encoded.
    pub attributes: Attributes<'a>,
    /// Unix nanoseconds; 0 if not given.
    pub start_time: u64,
    /// Unix nanoseconds.
    pub time: u64,
    /// Number of values.
    pub count: u64,
    /// Sum of values, if given.
    pub sum: Option<f64>,
    /// base = 2^(2^-scale).
    pub scale: i32,
    /// Values that count as zero.
    pub zero_count: u64,
    /// Above zero.
    pub positive: ExponentialBuckets<'a>,
    /// Below zero.
    pub negative: ExponentialBuckets<'a>,
    /// Smallest, if given.
    pub min: Option<f64>,
    /// Largest, if given.
    pub max: Option<f64>,
    /// Flag "no recorded value".
    pub no_recorded_value: bool,
}

/// A point of a summary.
#[derive(Debug, Clone, Copy)]
pub struct SummaryPoint<'a> {
    /// Encoded.
    pub attributes: Attributes<'a>,
    /// Unix nanoseconds; 0 if not given.
    pub start_time: u64,
    /// Unix nanoseconds.
    pub time: u64,
    /// Number of values.
    pub count: u64,
    /// Sum of values.
    pub sum: f64,
    /// The enclosing message, for [`SummaryPoint::quantiles`].
    pub(crate) message: &'a [u8],
    /// Flag "no recorded value".
    pub no_recorded_value: bool,
}

/// Kind of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Not stated.
    Unspecified,
    /// Within a service.
    Internal,
    /// Serves a request.
    Server,
    /// Makes a request.
    Client,
    /// Sends a message.
    Producer,
    /// Handles a message.
    Consumer,
}

/// A span. Ids are empty or of the right length (16 and 8 bytes).
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// 16 bytes.
    pub trace_id: &'a [u8],
    /// 8 bytes.
    pub span_id: &'a [u8],
    /// 8 bytes, or empty for a root.
    pub parent_span_id: &'a [u8],
    /// Operation.
    pub name: &'a str,
    /// Kind.
    pub kind: SpanKind,
    /// Unix nanoseconds.
    pub start_time: u64,
    /// Unix nanoseconds.
    pub end_time: u64,
    /// Encoded.
    pub attributes: Attributes<'a>,
    /// Status code ERROR.
    pub error: bool,
    /// Status message.
    pub status_message: &'a str,
}

/// A log record.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// Unix nanoseconds; the observed time if the event time is not given.
    pub time: u64,
    /// 1 to 24; 0 if not given.
    pub severity_number: u32,
    /// As given.
    pub severity_text: &'a str,
    /// Body, if it is text.
    pub body: Value<'a>,
    /// Encoded.
    pub attributes: Attributes<'a>,
    /// 16 bytes or empty.
    pub trace_id: &'a [u8],
    /// 8 bytes or empty.
    pub span_id: &'a [u8],
}

/// A resource with its attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resource<'a> {
    /// Encoded.
    pub attributes: Attributes<'a>,
}

/// An instrumentation scope.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// For instance `io.opentelemetry.http`.
    pub name: &'a str,
    /// As given.
    pub version: &'a str,
    /// Encoded.
    pub attributes: Attributes<'a>,
}

/// Told of everything in an `ExportMetricsServiceRequest`, in order.
pub trait MetricsVisitor {
    /// A resource begins.
    fn resource(&mut self, resource: Resource<'_>);
    /// A scope of it begins.
    fn scope(&mut self, scope: Scope<'_>);
    /// A metric of it begins.
    fn metric(&mut self, metric: Metric<'_>);
    /// A point of a gauge or sum.
    fn number(&mut self, point: NumberPoint<'_>);
    /// A point of a histogram.
    fn histogram(&mut self, point: HistogramPoint<'_>);
    /// A point of an exponential histogram.
    fn exponential_histogram(&mut self, point: ExponentialHistogramPoint<'_>);
    /// A point of a summary.
    fn summary(&mut self, point: SummaryPoint<'_>);
}

/// Told of everything in an `ExportTraceServiceRequest`, in order.
pub trait TracesVisitor {
    /// A resource begins.
    fn resource(&mut self, resource: Resource<'_>);
    /// A scope of it begins.
    fn scope(&mut self, scope: Scope<'_>);
    /// A span of it.
    fn span(&mut self, span: Span<'_>);
}

/// Told of everything in an `ExportLogsServiceRequest`, in order.
pub trait LogsVisitor {
    /// A resource begins.
    fn resource(&mut self, resource: Resource<'_>);
    /// A scope of it begins.
    fn scope(&mut self, scope: Scope<'_>);
    /// A record of it.
    fn log_record(&mut self, record: LogRecord<'_>);
}
