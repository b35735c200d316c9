//! The walk over an `ExportTraceServiceRequest`.

use crate::{
    Attributes, Span, SpanKind, TracesVisitor,
    error::DecodeError,
    walk::{each, resources},
    wire::{self, Reader},
};

/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: u32 = 2;

/// Tells `visitor` of everything in an encoded `ExportTraceServiceRequest`.
///
/// # Errors
/// [`DecodeError`] for bytes that are not OTLP, naming the place; never for bytes that [`crate::check_traces`]
/// accepted. What was told before stands.
pub fn walk_traces(bytes: &[u8], visitor: &mut impl TracesVisitor) -> Result<(), DecodeError> {
    resources(
        bytes,
        ["resource_spans", "scope_spans"],
        visitor,
        |visitor, resource| visitor.resource(resource),
        |visitor, scope| visitor.scope(scope),
        |visitor, scope_spans| {
            each(scope_spans, 2, "spans", |message| {
                visitor.span(span(message)?);
                Ok(())
            })
        },
    )
}

fn span(message: &[u8]) -> Result<Span<'_>, DecodeError> {
    const ATTRIBUTES: u32 = 9;
    let mut span = Span {
        trace_id: &[],
        span_id: &[],
        parent_span_id: &[],
        name: "",
        kind: SpanKind::Unspecified,
        start_time: 0,
        end_time: 0,
        attributes: Attributes::default(),
        error: false,
        status_message: "",
    };
    let mut attributes = wire::Span::default();
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => span.trace_id = wire.id(1, 16)?,
            2 => span.span_id = wire.id(2, 8)?,
            4 => span.parent_span_id = wire.id(4, 8)?,
            5 => span.name = wire.str(5)?,
            6 => {
                span.kind = match wire.varint32(6)? {
                    1 => SpanKind::Internal,
                    2 => SpanKind::Server,
                    3 => SpanKind::Client,
                    4 => SpanKind::Producer,
                    5 => SpanKind::Consumer,
                    _ => SpanKind::Unspecified,
                }
            }
            7 => span.start_time = wire.fixed64(7)?,
            8 => span.end_time = wire.fixed64(8)?,
            ATTRIBUTES => attributes.include(start, reader.position()),
            15 => {
                (span.error, span.status_message) =
                    status(wire.bytes(15)?).map_err(|error| error.within("status", None))?;
            }
            _ => {}
        }
        start = reader.position();
    }
    span.attributes = Attributes { message: attributes.of(message), field: ATTRIBUTES };
    Ok(span)
}

/// Whether the code is ERROR, and the message.
fn status(message: &[u8]) -> Result<(bool, &str), DecodeError> {
    let (mut error, mut text) = (false, "");
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next()? {
        match number {
            2 => text = wire.str(2)?,
            3 => error = wire.varint32(3)? == STATUS_ERROR,
            _ => {}
        }
    }
    Ok((error, text))
}
