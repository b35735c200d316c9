// Package plan has what an action will do: steps that each license one call.
//
// Make steps by the functions of the capability packages, such as [github.com/salve-healing/salve/sdk/go/process.RestartStep]: they write the
// arguments in the one form that the host compares. What is true before a step, and how it is taken back, is the host's to
// say.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
)

// Plan is what an action proposes, and what it is given once that is approved.
type Plan struct {
	// Summary is one sentence for a person: what this will do.
	Summary string
	// Steps in their order.
	Steps []Step
	// Expect is what the telemetry must show afterwards, besides the incident's own symptoms clearing.
	Expect []Expectation
	// Extra has details by name, for people and for Execute.
	Extra salve.Attributes
}

// New is a plan of these steps.
func New(summary string, steps ...Step) *Plan { return &Plan{Summary: summary, Steps: steps} }

// Step licenses one call with exactly these arguments, if the state is still what it was when the plan was made.
type Step struct {
	// Capability is the interface, for instance "config".
	Capability string
	// Verb is the function, for instance "set".
	Verb string
	// Target is the id of what it is done to.
	Target string
	// Arguments are canonical JSON without the target; bodies by SHA-256.
	Arguments string
	// Before is the state when the plan was made. The host fills it in.
	Before *string
	// After is the state that there should be then.
	After *string
	// Inverse are arguments of the same verb that take the call back. The host fills them in.
	Inverse *string
}

// Expectation is a bound on a series that must hold for the heal to count. As JSON, in the parameters of an action:
//
//	{"service": "checkout", "signal": "salve.span.error_ratio", "upper": 0.02}
type Expectation struct {
	// Service is a service's name; empty: the first target's.
	Service string
	// Signal is a series name.
	Signal string
	// Lower bound, inclusive.
	Lower *float64
	// Upper bound, inclusive.
	Upper *float64
	// WithinMs: the bounds must hold by then, counted from the end of Execute. In JSON by default one minute.
	WithinMs uint64
	// HoldMs: for this long without a break. In JSON by default five seconds.
	HoldMs uint64
	// SamplesMin: over at least so many points. In JSON by default three.
	SamplesMin uint32
}

// Expect is an expectation with the defaults that JSON has. NaN as a bound is none.
func Expect(signal string, lower, upper float64) Expectation {
	expectation := Expectation{
		Signal:     signal,
		WithinMs:   uint64(time.Minute / time.Millisecond),
		HoldMs:     5_000,
		SamplesMin: 3,
	}
	if !math.IsNaN(lower) {
		expectation.Lower = &lower
	}
	if !math.IsNaN(upper) {
		expectation.Upper = &upper
	}
	return expectation
}

// UnmarshalJSON reads it from an action's parameters.
func (e *Expectation) UnmarshalJSON(text []byte) error {
	written := struct {
		Service    string   `json:"service"`
		Signal     string   `json:"signal"`
		Lower      *float64 `json:"lower"`
		Upper      *float64 `json:"upper"`
		WithinMs   uint64   `json:"within_ms"`
		HoldMs     uint64   `json:"hold_ms"`
		SamplesMin uint32   `json:"samples_min"`
	}{WithinMs: 60_000, HoldMs: 5_000, SamplesMin: 3}
	if err := json.Unmarshal(text, &written); err != nil {
		return err
	}
	*e = Expectation(written)
	return nil
}

// BodySHA256 is how steps name bodies: lower-case hex.
func BodySHA256(body []byte) string {
	digest := sha256.Sum256(body)
	return hex.EncodeToString(digest[:])
}

// Performer makes the call that a step licenses. bodies: what steps name by digest.
type Performer func(step *Step, bodies [][]byte) (*salve.Receipt, error)

var performers = map[string]Performer{}

// Register names the performer of a capability. The capability packages do this, so that the calls of a package that is
// not imported are not in the component.
func Register(capability string, performer Performer) { performers[capability] = performer }

// Perform makes the call that a step licenses.
func Perform(step *Step, bodies [][]byte) (*salve.Receipt, error) {
	performer, ok := performers[step.Capability]
	if !ok {
		return nil, &salve.CallError{
			Reason: salve.Failed,
			Text:   "this plugin does not import the package of the capability `" + step.Capability + "`",
		}
	}
	return performer(step, bodies)
}
