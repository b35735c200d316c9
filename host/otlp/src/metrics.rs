//! The walk over an `ExportMetricsServiceRequest`.

use crate::{
    Attributes, ExponentialBuckets, ExponentialHistogramPoint, HistogramPoint, Metric, MetricKind,
    MetricsVisitor, NumberPoint, Numbers, SummaryPoint, Temporality,
    error::DecodeError,
    walk::{each, resources},
    wire::{Reader, Span},
};

/// Bit of `flags` that says: this series had a value and has none now.
const NO_RECORDED_VALUE: u32 = 1;

/// Tells `visitor` of everything in an encoded `ExportMetricsServiceRequest`.
///
/// A resource and a scope are announced even when they hold nothing, and when the request does not describe them.
///
/// # Errors
/// [`DecodeError`] for bytes that are not OTLP, naming the place; never for bytes that [`crate::check_metrics`]
/// accepted. What was told before stands.
pub fn walk_metrics(bytes: &[u8], visitor: &mut impl MetricsVisitor) -> Result<(), DecodeError> {
    resources(
        bytes,
        ["resource_metrics", "scope_metrics"],
        visitor,
        |visitor, resource| visitor.resource(resource),
        |visitor, scope| visitor.scope(scope),
        |visitor, scope_metrics| each(scope_metrics, 2, "metrics", |message| metric(message, visitor)),
    )
}

fn metric(message: &[u8], visitor: &mut impl MetricsVisitor) -> Result<(), DecodeError> {
    let (mut name, mut unit, mut data) = ("", "", None);
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => name = wire.str(1)?,
            3 => unit = wire.str(3)?,
            5 | 7 | 9 | 10 | 11 => data = Some((number, wire.bytes(number)?)),
            _ => {}
        }
    }
    let Some((number, data)) = data else {
        visitor.metric(Metric { name, unit, kind: MetricKind::Empty });
        return Ok(());
    };
    // Kind first: temporality stands behind the points on the wire.
    let (field, kind) = match number {
        5 => ("gauge", MetricKind::Gauge),
        7 => {
            let (temporality, monotonic) = temporality(data).map_err(|error| error.within("sum", None))?;
            ("sum", MetricKind::Sum { temporality, monotonic })
        }
        9 => {
            let (temporality, _) = temporality(data).map_err(|error| error.within("histogram", None))?;
            ("histogram", MetricKind::Histogram(temporality))
        }
        10 => {
            let (temporality, _) =
                temporality(data).map_err(|error| error.within("exponential_histogram", None))?;
            ("exponential_histogram", MetricKind::ExponentialHistogram(temporality))
        }
        _ => ("summary", MetricKind::Summary),
    };
    visitor.metric(Metric { name, unit, kind });
    let points =
        |point: &mut dyn FnMut(&[u8]) -> Result<(), DecodeError>| each(data, 1, "data_points", point);
    match kind {
        MetricKind::Gauge | MetricKind::Sum { .. } => each(data, 1, "data_points", |message| {
            visitor.number(number_point(message)?);
            Ok(())
        }),
        MetricKind::Histogram(_) => points(&mut |message| {
            visitor.histogram(histogram_point(message)?);
            Ok(())
        }),
        MetricKind::ExponentialHistogram(_) => points(&mut |message| {
            visitor.exponential_histogram(exponential_histogram_point(message)?);
            Ok(())
        }),
        MetricKind::Summary | MetricKind::Empty => points(&mut |message| {
            visitor.summary(summary_point(message)?);
            Ok(())
        }),
    }
    .map_err(|error| error.within(field, None))
}

/// Temporality, and whether a sum is monotonic.
fn temporality(message: &[u8]) -> Result<(Temporality, bool), DecodeError> {
    let (mut temporality, mut monotonic) = (Temporality::Unspecified, false);
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next()? {
        match number {
            2 => {
                temporality = match wire.varint32(2)? {
                    1 => Temporality::Delta,
                    2 => Temporality::Cumulative,
                    _ => Temporality::Unspecified,
                }
            }
            // Field 3 exists in sums only.
            3 => monotonic = matches!(wire, crate::wire::Wire::Varint(value) if value != 0),
            _ => {}
        }
    }
    Ok((temporality, monotonic))
}

#[inline]
fn number_point(message: &[u8]) -> Result<NumberPoint<'_>, DecodeError> {
    const ATTRIBUTES: u32 = 7;
    let (mut start_time, mut time, mut value, mut flags) = (0, 0, None, 0);
    let mut attributes = Span::default();
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((number, wire)) = reader.next()? {
        match number {
            2 => start_time = wire.fixed64(2)?,
            3 => time = wire.fixed64(3)?,
            4 => value = Some(wire.double(4)?),
            #[expect(
                clippy::cast_precision_loss,
                reason = "points are floats; beyond 2^53 the last digits go"
            )]
            6 => value = Some(wire.fixed64(6)?.cast_signed() as f64),
            ATTRIBUTES => attributes.include(start, reader.position()),
            8 => flags = wire.varint32(8)?,
            _ => {}
        }
        start = reader.position();
    }
    Ok(NumberPoint {
        attributes: Attributes { message: attributes.of(message), field: ATTRIBUTES },
        start_time,
        time,
        value: value.filter(|_| flags & NO_RECORDED_VALUE == 0),
    })
}

fn histogram_point(message: &[u8]) -> Result<HistogramPoint<'_>, DecodeError> {
    const ATTRIBUTES: u32 = 9;
    let mut point = HistogramPoint {
        attributes: Attributes::default(),
        start_time: 0,
        time: 0,
        count: 0,
        sum: None,
        bucket_counts: Numbers::default(),
        explicit_bounds: Numbers::default(),
        min: None,
        max: None,
        no_recorded_value: false,
    };
    let (mut attributes, mut counts, mut bounds) = (Span::default(), Span::default(), Span::default());
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((number, wire)) = reader.next()? {
        match number {
            2 => point.start_time = wire.fixed64(2)?,
            3 => point.time = wire.fixed64(3)?,
            4 => point.count = wire.fixed64(4)?,
            5 => point.sum = Some(wire.double(5)?),
            6 => counts.include(start, reader.position()),
            7 => bounds.include(start, reader.position()),
            ATTRIBUTES => attributes.include(start, reader.position()),
            10 => point.no_recorded_value = wire.varint32(10)? & NO_RECORDED_VALUE != 0,
            11 => point.min = Some(wire.double(11)?),
            12 => point.max = Some(wire.double(12)?),
            _ => {}
        }
        start = reader.position();
    }
    point.attributes = Attributes { message: attributes.of(message), field: ATTRIBUTES };
    point.bucket_counts = Numbers { message: counts.of(message), field: 6, varint: false };
    point.explicit_bounds = Numbers { message: bounds.of(message), field: 7, varint: false };
    Ok(point)
}

fn exponential_histogram_point(message: &[u8]) -> Result<ExponentialHistogramPoint<'_>, DecodeError> {
    const ATTRIBUTES: u32 = 1;
    let mut point = ExponentialHistogramPoint {
        attributes: Attributes::default(),
        start_time: 0,
        time: 0,
        count: 0,
        sum: None,
        scale: 0,
        zero_count: 0,
        positive: ExponentialBuckets::default(),
        negative: ExponentialBuckets::default(),
        min: None,
        max: None,
        no_recorded_value: false,
    };
    let mut attributes = Span::default();
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((number, wire)) = reader.next()? {
        match number {
            ATTRIBUTES => attributes.include(start, reader.position()),
            2 => point.start_time = wire.fixed64(2)?,
            3 => point.time = wire.fixed64(3)?,
            4 => point.count = wire.fixed64(4)?,
            5 => point.sum = Some(wire.double(5)?),
            6 => point.scale = wire.sint32(6)?,
            7 => point.zero_count = wire.fixed64(7)?,
            8 => {
                point.positive = buckets(wire.bytes(8)?).map_err(|error| error.within("positive", None))?;
            }
            9 => {
                point.negative = buckets(wire.bytes(9)?).map_err(|error| error.within("negative", None))?;
            }
            10 => point.no_recorded_value = wire.varint32(10)? & NO_RECORDED_VALUE != 0,
            12 => point.min = Some(wire.double(12)?),
            13 => point.max = Some(wire.double(13)?),
            _ => {}
        }
        start = reader.position();
    }
    point.attributes = Attributes { message: attributes.of(message), field: ATTRIBUTES };
    Ok(point)
}

fn buckets(message: &[u8]) -> Result<ExponentialBuckets<'_>, DecodeError> {
    const COUNTS: u32 = 2;
    let (mut offset, mut counts) = (0, Span::default());
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => offset = wire.sint32(1)?,
            COUNTS => counts.include(start, reader.position()),
            _ => {}
        }
        start = reader.position();
    }
    Ok(ExponentialBuckets {
        offset,
        counts: Numbers { message: counts.of(message), field: COUNTS, varint: true },
    })
}

fn summary_point(message: &[u8]) -> Result<SummaryPoint<'_>, DecodeError> {
    const ATTRIBUTES: u32 = 7;
    let mut point = SummaryPoint {
        attributes: Attributes::default(),
        start_time: 0,
        time: 0,
        count: 0,
        sum: 0.0,
        message,
        no_recorded_value: false,
    };
    let mut attributes = Span::default();
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((number, wire)) = reader.next()? {
        match number {
            2 => point.start_time = wire.fixed64(2)?,
            3 => point.time = wire.fixed64(3)?,
            4 => point.count = wire.fixed64(4)?,
            5 => point.sum = wire.double(5)?,
            ATTRIBUTES => attributes.include(start, reader.position()),
            8 => point.no_recorded_value = wire.varint32(8)? & NO_RECORDED_VALUE != 0,
            _ => {}
        }
        start = reader.position();
    }
    point.attributes = Attributes { message: attributes.of(message), field: ATTRIBUTES };
    Ok(point)
}
