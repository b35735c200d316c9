// Package host is the other side of every call: in WebAssembly the real host, natively the one that a test has installed.
package host

import (
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
)

// Time of Unix nanoseconds. All 64 bits count, as in the contract.
func Time(unixNanoseconds uint64) time.Time {
	return time.Unix(int64(unixNanoseconds/1e9), int64(unixNanoseconds%1e9)).UTC()
}

// UnixNanoseconds of a time; 0 for what is before 1970.
func UnixNanoseconds(t time.Time) uint64 {
	if t.Unix() < 0 {
		return 0
	}
	return uint64(t.Unix())*1e9 + uint64(t.Nanosecond())
}

// Milliseconds of a duration as the contract counts them: rounded up, 0 for negative ones.
func Milliseconds(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d-1)/time.Millisecond) + 1
}

// Level of a log line.
type Level uint8

// Levels of the contract.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// ProcessStatus is process.Status.
type ProcessStatus struct {
	// PID is nil if it does not run.
	PID *uint32
	// Started is nil if it does not run.
	Started *time.Time
	// State is "running", "stopped" (by a signal), "exited" or "zombie".
	State string
	// RSSBytes is its resident memory.
	RSSBytes uint64
	// CPUSeconds is user and system time together.
	CPUSeconds float64
	// LastExit is the exit status or signal of the last run that ended, in words.
	LastExit *string
}

// Version is config.Version.
type Version struct {
	// Value is nil if the key was absent. A secret key shows a handle that only Set understands.
	Value *string
	// Since is when it came into force.
	Since time.Time
	// Good: it was in force for the configured time with no open incident on the target.
	Good bool
}

// Key is config.Key.
type Key struct {
	// Name is a dotted path.
	Name string
	// Value is nil if the key is absent.
	Value *string
}

// Request is http.Request.
type Request struct {
	// Target has scheme, host and port.
	Target string
	// Method in upper case.
	Method string
	// Path is normalised and absolute.
	Path string
	// Query in order.
	Query []salve.Field
	// Headers in order.
	Headers []salve.Field
	// Body as it is sent.
	Body []byte
	// IdempotencyKey is sent as Idempotency-Key if the grant declares the call keyed.
	IdempotencyKey *string
}

// Response is http.Response.
type Response struct {
	// Status is the HTTP status.
	Status uint16
	// Headers, secrets removed.
	Headers []salve.Field
	// Body, bounded by the host.
	Body []byte
}

// ServiceStats is telemetry.ServiceStats.
type ServiceStats struct {
	// Service is its service.name.
	Service string
	// RequestsPerSecond that it served.
	RequestsPerSecond float64
	// ErrorRatio is the share of served requests that failed, 0 to 1.
	ErrorRatio float64
	// DurationMeanMs is the mean time to serve a request.
	DurationMeanMs float64
	// DurationP95Ms is its 95th percentile.
	DurationP95Ms float64
	// LastSeen is when telemetry of any signal last came; 1970 if never.
	LastSeen time.Time
}

// EdgeStats is telemetry.EdgeStats.
type EdgeStats struct {
	// Caller is the calling service.
	Caller string
	// Callee is the called service.
	Callee string
	// RequestsPerSecond of these calls.
	RequestsPerSecond float64
	// ErrorRatio is the share of calls that failed as the caller saw it, 0 to 1.
	ErrorRatio float64
	// DurationMeanMs is the mean time the caller waited.
	DurationMeanMs float64
}

// Change is telemetry.Change.
type Change struct {
	// Time when it was noticed.
	Time time.Time
	// Service it concerns, if known.
	Service *string
	// Target it concerns, if known.
	Target *string
	// Kind is for instance "config".
	Kind string
	// What is for instance the key.
	What string
	// Before is the value before.
	Before *string
	// After is the value after.
	After *string
	// Author is "salve" or "other".
	Author string
}

// SeriesInfo is telemetry.SeriesInfo.
type SeriesInfo struct {
	// ID for Points.
	ID uint32
	// Name is for instance "salve.span.error_ratio".
	Name string
	// Unit is a UCUM unit.
	Unit string
	// Service it belongs to.
	Service string
	// Limit is a known capacity in the series' unit.
	Limit *float64
	// Attributes of resource and points.
	Attributes salve.Attributes
}

// Measurement is telemetry.Measurement.
type Measurement struct {
	// Time it was measured.
	Time time.Time
	// Value that was measured.
	Value float64
}
