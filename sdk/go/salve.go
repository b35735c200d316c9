// Package salve holds the words that plugins of every role share.
//
// A plugin is a program of package main that imports the package of its role and hands over one value:
//
//   - [github.com/salve-healing/salve/sdk/go/detector]: sees points, says what is abnormal
//   - [github.com/salve-healing/salve/sdk/go/agent]: reads telemetry, says what the cause is
//   - [github.com/salve-healing/salve/sdk/go/action]: plans writes on targets, and makes those that were approved
//
// `salve plugin build` makes a WebAssembly component of it. The same code runs natively under `go test`, against the
// scripted host of [github.com/salve-healing/salve/sdk/go/salvetest].
//
// # What always holds
//
//   - No code is generated. What a plugin imports is what its code reaches: a capability whose package is not used is not
//     in its component.
//   - Goroutines, channels, timers and [time.Sleep] work. There is no network, file, environment or process; [time.Now]
//     is the host's time, and [math/rand] gives the same numbers in every run, so that a call can be replayed.
//   - Text that is not UTF-8 is made so where it leaves the plugin.
package salve

// Attributes are names and values without an order, for instance those of a resource.
type Attributes = map[string]string

// Field is one entry of an ordered list of names and values, in which names may repeat: headers, query parameters, the
// fields of a message.
type Field struct {
	Name  string
	Value string
}

// Target is something that Salve can act on. Only the host knows which process, file or host name is behind it.
type Target struct {
	// ID is the id of the [[target]] in the operator's configuration: the only way to address anything.
	ID string
	// Attributes are the resource attributes that select it, for instance service.name.
	Attributes Attributes
}

// Receipt is the host's proof of one write.
type Receipt struct {
	// Call numbers the writes of one incident.
	Call uint64
	// Step is the index of the plan's step that licensed it.
	Step uint32
	// Target is what it was done to.
	Target string
	// Verb is for instance "restart".
	Verb string
	// Applied is false in a dry-run: everything was checked, nothing was written. It is false too if the target refused the
	// write, for instance an HTTP server by 422: then Extra has "refused", the reason.
	Applied bool
	// Before is the target's state before the write, if the host knows.
	Before *string
	// After is the target's state after the write, if the host knows.
	After *string
	// Extra has details by name.
	Extra Attributes
}

// Kind is a way in which a series can be abnormal.
type Kind uint8

// The kinds of the contract.
const (
	// Point: one or a few points outside their bounds.
	Point Kind = iota
	// LevelShift: the level has moved and stays.
	LevelShift
	// Trend: it moves towards a limit.
	Trend
	// SeasonalBreak: a pattern that repeats did not come.
	SeasonalBreak
	// Missing: points that should have come did not.
	Missing
)

// String is the kind's name in the contract.
func (k Kind) String() string {
	names := [...]string{"point", "level-shift", "trend", "seasonal-break", "missing"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}
