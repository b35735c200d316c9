//! The OTLP messages as tables: one truth for [`crate::check_metrics`] and for JSON.
//!
//! Source: opentelemetry-proto 1.8, packages `common`, `resource`, `metrics`, `trace`, `logs` and their collectors.

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// For instance `NumberDataPoint`.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
    /// What each one of it counts as.
    pub counts: Counted,
    /// By field number: position in `fields` plus one; 0 if unknown.
    index: [u8; Message::NUMBERS],
}

/// What a message is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Nothing.
    No,
    /// A resource.
    Resource,
    /// A point, span or record.
    Item,
    /// A value that may hold values: nesting is bounded here.
    Value,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// On the wire.
    pub number: u32,
    /// As in the `.proto` files; in JSON in lowerCamelCase.
    pub name: &'static str,
    /// How often.
    pub label: Label,
    /// Of which type.
    pub kind: Kind,
}

/// How often a field may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A scalar: the last one counts.
    Optional,
    /// A message: once. Protobuf would merge a second one into the first, and readers that do not would see something
    /// else, so a second one is refused.
    Once,
    /// One member of the only choice (`oneof`) of its message that can hold messages: once among all of them.
    Choice,
    /// Any number.
    Repeated,
}

/// Type of a field.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `double`.
    Double,
    /// `fixed64`.
    Fixed64,
    /// `sfixed64`.
    Sfixed64,
    /// `fixed32`.
    Fixed32,
    /// `uint64`.
    Uint64,
    /// `int64`.
    Int64,
    /// `uint32`.
    Uint32,
    /// `int32`.
    Int32,
    /// `sint32`.
    Sint32,
    /// `bool`.
    Bool,
    /// An enumeration.
    Enum,
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// `bytes` that hold an id of this length, or nothing; hexadecimal in JSON.
    Id(usize),
    /// An embedded message.
    Message(&'static Message),
}

impl Message {
    /// One more than the highest field number in OTLP.
    const NUMBERS: usize = 17;

    const fn new(name: &'static str, counts: Counted, fields: &'static [Field]) -> Self {
        let mut index = [0; Self::NUMBERS];
        let mut position = 0;
        while position < fields.len() {
            index[fields[position].number as usize] = position as u8 + 1;
            position += 1;
        }
        Self { name, fields, counts, index }
    }

    /// The field with this number.
    #[inline]
    #[must_use]
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        let position = usize::from(*self.index.get(number as usize)?).checked_sub(1)?;
        self.fields.get(position)
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $visibility:vis $id:ident $name:literal $counts:ident {
        $($number:literal $label:ident $field:literal $kind:ident $(($argument:expr))?;)*
    })*) => {$(
        $(#[$doc])*
        $visibility static $id: Message = {
            static FIELDS: &[Field] = &[$(
                Field { number: $number, name: $field, label: Label::$label, kind: Kind::$kind $(($argument))? },
            )*];
            Message::new($name, Counted::$counts, FIELDS)
        };
    )*};
}

messages! {
    /// `ExportMetricsServiceRequest`.
    pub METRICS "ExportMetricsServiceRequest" No {
        1 Repeated "resource_metrics" Message(&RESOURCE_METRICS);
    }
    RESOURCE_METRICS "ResourceMetrics" Resource {
        1 Once "resource" Message(&RESOURCE);
        2 Repeated "scope_metrics" Message(&SCOPE_METRICS);
        3 Optional "schema_url" String;
    }
    SCOPE_METRICS "ScopeMetrics" No {
        1 Once "scope" Message(&SCOPE);
        2 Repeated "metrics" Message(&METRIC);
        3 Optional "schema_url" String;
    }
    METRIC "Metric" No {
        1 Optional "name" String;
        2 Optional "description" String;
        3 Optional "unit" String;
        5 Choice "gauge" Message(&GAUGE);
        7 Choice "sum" Message(&SUM);
        9 Choice "histogram" Message(&HISTOGRAM);
        10 Choice "exponential_histogram" Message(&EXPONENTIAL_HISTOGRAM);
        11 Choice "summary" Message(&SUMMARY);
        12 Repeated "metadata" Message(&KEY_VALUE);
    }
    GAUGE "Gauge" No {
        1 Repeated "data_points" Message(&NUMBER_DATA_POINT);
    }
    SUM "Sum" No {
        1 Repeated "data_points" Message(&NUMBER_DATA_POINT);
        2 Optional "aggregation_temporality" Enum;
        3 Optional "is_monotonic" Bool;
    }
    HISTOGRAM "Histogram" No {
        1 Repeated "data_points" Message(&HISTOGRAM_DATA_POINT);
        2 Optional "aggregation_temporality" Enum;
    }
    EXPONENTIAL_HISTOGRAM "ExponentialHistogram" No {
        1 Repeated "data_points" Message(&EXPONENTIAL_HISTOGRAM_DATA_POINT);
        2 Optional "aggregation_temporality" Enum;
    }
    SUMMARY "Summary" No {
        1 Repeated "data_points" Message(&SUMMARY_DATA_POINT);
    }
    NUMBER_DATA_POINT "NumberDataPoint" Item {
        2 Optional "start_time_unix_nano" Fixed64;
        3 Optional "time_unix_nano" Fixed64;
        4 Optional "as_double" Double;
        5 Repeated "exemplars" Message(&EXEMPLAR);
        6 Optional "as_int" Sfixed64;
        7 Repeated "attributes" Message(&KEY_VALUE);
        8 Optional "flags" Uint32;
    }
    HISTOGRAM_DATA_POINT "HistogramDataPoint" Item {
        2 Optional "start_time_unix_nano" Fixed64;
        3 Optional "time_unix_nano" Fixed64;
        4 Optional "count" Fixed64;
        5 Optional "sum" Double;
        6 Repeated "bucket_counts" Fixed64;
        7 Repeated "explicit_bounds" Double;
        8 Repeated "exemplars" Message(&EXEMPLAR);
        9 Repeated "attributes" Message(&KEY_VALUE);
        10 Optional "flags" Uint32;
        11 Optional "min" Double;
        12 Optional "max" Double;
    }
    EXPONENTIAL_HISTOGRAM_DATA_POINT "ExponentialHistogramDataPoint" Item {
        1 Repeated "attributes" Message(&KEY_VALUE);
        2 Optional "start_time_unix_nano" Fixed64;
        3 Optional "time_unix_nano" Fixed64;
        4 Optional "count" Fixed64;
        5 Optional "sum" Double;
        6 Optional "scale" Sint32;
        7 Optional "zero_count" Fixed64;
        8 Once "positive" Message(&BUCKETS);
        9 Once "negative" Message(&BUCKETS);
        10 Optional "flags" Uint32;
        11 Repeated "exemplars" Message(&EXEMPLAR);
        12 Optional "min" Double;
        13 Optional "max" Double;
        14 Optional "zero_threshold" Double;
    }
    BUCKETS "Buckets" No {
        1 Optional "offset" Sint32;
        2 Repeated "bucket_counts" Uint64;
    }
    SUMMARY_DATA_POINT "SummaryDataPoint" Item {
        2 Optional "start_time_unix_nano" Fixed64;
        3 Optional "time_unix_nano" Fixed64;
        4 Optional "count" Fixed64;
        5 Optional "sum" Double;
        6 Repeated "quantile_values" Message(&QUANTILE);
        7 Repeated "attributes" Message(&KEY_VALUE);
        8 Optional "flags" Uint32;
    }
    QUANTILE "ValueAtQuantile" No {
        1 Optional "quantile" Double;
        2 Optional "value" Double;
    }
    EXEMPLAR "Exemplar" No {
        2 Optional "time_unix_nano" Fixed64;
        3 Optional "as_double" Double;
        4 Optional "span_id" Id(8);
        5 Optional "trace_id" Id(16);
        6 Optional "as_int" Sfixed64;
        7 Repeated "filtered_attributes" Message(&KEY_VALUE);
    }

    /// `ExportTraceServiceRequest`.
    pub TRACES "ExportTraceServiceRequest" No {
        1 Repeated "resource_spans" Message(&RESOURCE_SPANS);
    }
    RESOURCE_SPANS "ResourceSpans" Resource {
        1 Once "resource" Message(&RESOURCE);
        2 Repeated "scope_spans" Message(&SCOPE_SPANS);
        3 Optional "schema_url" String;
    }
    SCOPE_SPANS "ScopeSpans" No {
        1 Once "scope" Message(&SCOPE);
        2 Repeated "spans" Message(&SPAN);
        3 Optional "schema_url" String;
    }
    SPAN "Span" Item {
        1 Optional "trace_id" Id(16);
        2 Optional "span_id" Id(8);
        3 Optional "trace_state" String;
        4 Optional "parent_span_id" Id(8);
        5 Optional "name" String;
        6 Optional "kind" Enum;
        7 Optional "start_time_unix_nano" Fixed64;
        8 Optional "end_time_unix_nano" Fixed64;
        9 Repeated "attributes" Message(&KEY_VALUE);
        10 Optional "dropped_attributes_count" Uint32;
        11 Repeated "events" Message(&EVENT);
        12 Optional "dropped_events_count" Uint32;
        13 Repeated "links" Message(&LINK);
        14 Optional "dropped_links_count" Uint32;
        15 Once "status" Message(&STATUS);
        16 Optional "flags" Fixed32;
    }
    EVENT "Event" No {
        1 Optional "time_unix_nano" Fixed64;
        2 Optional "name" String;
        3 Repeated "attributes" Message(&KEY_VALUE);
        4 Optional "dropped_attributes_count" Uint32;
    }
    LINK "Link" No {
        1 Optional "trace_id" Id(16);
        2 Optional "span_id" Id(8);
        3 Optional "trace_state" String;
        4 Repeated "attributes" Message(&KEY_VALUE);
        5 Optional "dropped_attributes_count" Uint32;
        6 Optional "flags" Fixed32;
    }
    STATUS "Status" No {
        2 Optional "message" String;
        3 Optional "code" Enum;
    }

    /// `ExportLogsServiceRequest`.
    pub LOGS "ExportLogsServiceRequest" No {
        1 Repeated "resource_logs" Message(&RESOURCE_LOGS);
    }
    RESOURCE_LOGS "ResourceLogs" Resource {
        1 Once "resource" Message(&RESOURCE);
        2 Repeated "scope_logs" Message(&SCOPE_LOGS);
        3 Optional "schema_url" String;
    }
    SCOPE_LOGS "ScopeLogs" No {
        1 Once "scope" Message(&SCOPE);
        2 Repeated "log_records" Message(&LOG_RECORD);
        3 Optional "schema_url" String;
    }
    LOG_RECORD "LogRecord" Item {
        1 Optional "time_unix_nano" Fixed64;
        2 Optional "severity_number" Enum;
        3 Optional "severity_text" String;
        5 Once "body" Message(&ANY_VALUE);
        6 Repeated "attributes" Message(&KEY_VALUE);
        7 Optional "dropped_attributes_count" Uint32;
        8 Optional "flags" Fixed32;
        9 Optional "trace_id" Id(16);
        10 Optional "span_id" Id(8);
        11 Optional "observed_time_unix_nano" Fixed64;
        12 Optional "event_name" String;
    }

    RESOURCE "Resource" No {
        1 Repeated "attributes" Message(&KEY_VALUE);
        2 Optional "dropped_attributes_count" Uint32;
        3 Repeated "entity_refs" Message(&ENTITY_REF);
    }
    ENTITY_REF "EntityRef" No {
        1 Optional "schema_url" String;
        2 Optional "type" String;
        3 Repeated "id_keys" String;
        4 Repeated "description_keys" String;
    }
    SCOPE "InstrumentationScope" No {
        1 Optional "name" String;
        2 Optional "version" String;
        3 Repeated "attributes" Message(&KEY_VALUE);
        4 Optional "dropped_attributes_count" Uint32;
    }
    pub(crate) KEY_VALUE "KeyValue" No {
        1 Optional "key" String;
        2 Once "value" Message(&ANY_VALUE);
        3 Optional "key_strindex" Int32;
    }
    ANY_VALUE "AnyValue" Value {
        1 Choice "string_value" String;
        2 Choice "bool_value" Bool;
        3 Choice "int_value" Int64;
        4 Choice "double_value" Double;
        5 Choice "array_value" Message(&ARRAY_VALUE);
        6 Choice "kvlist_value" Message(&KEY_VALUE_LIST);
        7 Choice "bytes_value" Bytes;
        8 Choice "string_value_strindex" Int32;
    }
    ARRAY_VALUE "ArrayValue" No {
        1 Repeated "values" Message(&ANY_VALUE);
    }
    KEY_VALUE_LIST "KeyValueList" No {
        1 Repeated "values" Message(&KEY_VALUE);
    }
}
