//! The walk over an `ExportLogsServiceRequest`.

use crate::{
    Attributes, LogRecord, LogsVisitor, Value,
    attributes::any_value,
    error::DecodeError,
    walk::{each, resources},
    wire::{Reader, Span},
};

/// `SEVERITY_NUMBER_FATAL4`, the highest.
const SEVERITY_MAX: u32 = 24;

/// Tells `visitor` of everything in an encoded `ExportLogsServiceRequest`.
///
/// # Errors
/// [`DecodeError`] for bytes that are not OTLP, naming the place; never for bytes that [`crate::check_logs`]
/// accepted. What was told before stands.
pub fn walk_logs(bytes: &[u8], visitor: &mut impl LogsVisitor) -> Result<(), DecodeError> {
    resources(
        bytes,
        ["resource_logs", "scope_logs"],
        visitor,
        |visitor, resource| visitor.resource(resource),
        |visitor, scope| visitor.scope(scope),
        |visitor, scope_logs| {
            each(scope_logs, 2, "log_records", |message| {
                visitor.log_record(log_record(message)?);
                Ok(())
            })
        },
    )
}

fn log_record(message: &[u8]) -> Result<LogRecord<'_>, DecodeError> {
    const ATTRIBUTES: u32 = 6;
    let mut record = LogRecord {
        time: 0,
        severity_number: 0,
        severity_text: "",
        body: Value::Empty,
        attributes: Attributes::default(),
        trace_id: &[],
        span_id: &[],
    };
    let mut observed_time = 0;
    let mut attributes = Span::default();
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => record.time = wire.fixed64(1)?,
            2 => {
                record.severity_number =
                    Some(wire.varint32(2)?).filter(|number| *number <= SEVERITY_MAX).unwrap_or(0)
            }
            3 => record.severity_text = wire.str(3)?,
            5 => record.body = any_value(wire.bytes(5)?).map_err(|error| error.within("body", None))?,
            ATTRIBUTES => attributes.include(start, reader.position()),
            9 => record.trace_id = wire.id(9, 16)?,
            10 => record.span_id = wire.id(10, 8)?,
            11 => observed_time = wire.fixed64(11)?,
            _ => {}
        }
        start = reader.position();
    }
    if record.time == 0 {
        record.time = observed_time;
    }
    record.attributes = Attributes { message: attributes.of(message), field: ATTRIBUTES };
    Ok(record)
}
