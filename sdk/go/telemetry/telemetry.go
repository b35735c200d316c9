// Package telemetry reads what the host has seen, for agents and actions. Every answer is bounded. Windows do not include
// their end.
package telemetry

import (
	"time"

	"github.com/salve-healing/salve/sdk/go/internal/host"
)

// ServiceStats is one service over one window, from its server spans.
type ServiceStats = host.ServiceStats

// EdgeStats are calls from one service to another over one window, from the caller's client spans.
type EdgeStats = host.EdgeStats

// Change is something that was changed on purpose or by accident: a configuration key, a deployment.
type Change = host.Change

// SeriesInfo describes a series.
type SeriesInfo = host.SeriesInfo

// Measurement is a point of a series.
type Measurement = host.Measurement

// Services are all services seen in the window, at most 1,000, by name.
func Services(from, to time.Time) []ServiceStats { return host.Services(from, to) }

// Edges are all edges seen in the window, at most 5,000, by caller and callee.
func Edges(from, to time.Time) []EdgeStats { return host.Edges(from, to) }

// Changes in the window, newest first, at most 100.
func Changes(from, to time.Time) []Change { return host.Changes(from, to) }

// Find gives series of a service (empty: of all) whose name begins with namePrefix, at most 200.
func Find(service, namePrefix string) []SeriesInfo { return host.Find(service, namePrefix) }

// Points of a series in the window, oldest first, at most 2,000 (the newest ones).
func Points(series uint32, from, to time.Time) []Measurement { return host.Points(series, from, to) }
