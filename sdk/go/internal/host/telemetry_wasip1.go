package host

import (
	"time"
	"unsafe"
)

//go:wasmimport salve:plugin/telemetry@0.1.0 services
func telemetryServices(from, to uint64, into unsafe.Pointer)

//go:wasmimport salve:plugin/telemetry@0.1.0 edges
func telemetryEdges(from, to uint64, into unsafe.Pointer)

//go:wasmimport salve:plugin/telemetry@0.1.0 changes
func telemetryChanges(from, to uint64, into unsafe.Pointer)

//go:wasmimport salve:plugin/telemetry@0.1.0 find
func telemetryFind(service, serviceLength, prefix, prefixLength uint32, into unsafe.Pointer)

//go:wasmimport salve:plugin/telemetry@0.1.0 points
func telemetryPoints(series uint32, from, to uint64, into unsafe.Pointer)

type serviceStats struct {
	service                                                      Text
	requestsPerSecond, errorRatio, durationMeanMs, durationP95Ms float64
	lastSeen                                                     uint64
}

type edgeStats struct {
	caller, callee                                Text
	requestsPerSecond, errorRatio, durationMeanMs float64
}

type change struct {
	time            uint64
	service, target Option[Text]
	kind, what      Text
	before, after   Option[Text]
	author          Text
}

type seriesInfo struct {
	id                  uint32
	name, unit, service Text
	limit               Option[float64]
	attributes          Pairs
}

type measurement struct {
	time  uint64
	value float64
}

// Services is telemetry.services.
func Services(from, to time.Time) []ServiceStats {
	call := func(into unsafe.Pointer) { telemetryServices(UnixNanoseconds(from), UnixNanoseconds(to), into) }
	return records(call, func(record *serviceStats) ServiceStats {
		return ServiceStats{
			Service:           record.service.String(),
			RequestsPerSecond: record.requestsPerSecond,
			ErrorRatio:        record.errorRatio,
			DurationMeanMs:    record.durationMeanMs,
			DurationP95Ms:     record.durationP95Ms,
			LastSeen:          Time(record.lastSeen),
		}
	})
}

// Edges is telemetry.edges.
func Edges(from, to time.Time) []EdgeStats {
	call := func(into unsafe.Pointer) { telemetryEdges(UnixNanoseconds(from), UnixNanoseconds(to), into) }
	return records(call, func(record *edgeStats) EdgeStats {
		return EdgeStats{
			Caller:            record.caller.String(),
			Callee:            record.callee.String(),
			RequestsPerSecond: record.requestsPerSecond,
			ErrorRatio:        record.errorRatio,
			DurationMeanMs:    record.durationMeanMs,
		}
	})
}

// Changes is telemetry.changes.
func Changes(from, to time.Time) []Change {
	call := func(into unsafe.Pointer) { telemetryChanges(UnixNanoseconds(from), UnixNanoseconds(to), into) }
	return records(call, func(record *change) Change {
		return Change{
			Time:    Time(record.time),
			Service: liftOption(record.service, Text.String),
			Target:  liftOption(record.target, Text.String),
			Kind:    record.kind.String(),
			What:    record.what.String(),
			Before:  liftOption(record.before, Text.String),
			After:   liftOption(record.after, Text.String),
			Author:  record.author.String(),
		}
	})
}

// Find is telemetry.find.
func Find(service, namePrefix string) []SeriesInfo {
	call := func(into unsafe.Pointer) {
		of, prefix := LowerText(service), LowerText(namePrefix)
		telemetryFind(of.address, of.length, prefix.address, prefix.length, into)
	}
	return records(call, func(record *seriesInfo) SeriesInfo {
		return SeriesInfo{
			ID:         record.id,
			Name:       record.name.String(),
			Unit:       record.unit.String(),
			Service:    record.service.String(),
			Limit:      liftOption(record.limit, same),
			Attributes: LiftAttributes(record.attributes),
		}
	})
}

// Points is telemetry.points.
func Points(series uint32, from, to time.Time) []Measurement {
	call := func(into unsafe.Pointer) {
		telemetryPoints(series, UnixNanoseconds(from), UnixNanoseconds(to), into)
	}
	return records(call, func(record *measurement) Measurement {
		return Measurement{Time: Time(record.time), Value: record.value}
	})
}
