package salve

import "errors"

// CallError is why a call failed. Use [errors.As] to read it, or [errors.Is] with a [Reason]:
//
//	if errors.Is(err, salve.NotFound) { … }
type CallError struct {
	// Reason says what went wrong.
	Reason Reason
	// Text is what the host says about it; empty for reasons that need no words.
	Text string
}

// Reason is one of the ways in which a call fails. It is an error, so that [errors.Is] takes it.
type Reason uint8

// The reasons of the contract. Those up to [Limit] are refusals: nothing happened, and the refusal is on record.
const (
	// NotGranted: the operator has not granted this. The text is the TOML that would allow it.
	NotGranted Reason = iota
	// NotInPlan: the approved plan has no step that licenses this call. The text says what came closest.
	NotInPlan
	// NotRecorded: the plugin runs on a recording, and this call is not in it.
	NotRecorded
	// StateChanged: the target is no longer in the state that the plan's step calls before. The text is its state now.
	StateChanged
	// KillSwitch: an operator has paused Salve.
	KillSwitch
	// Limit: a limit of this plugin is used up. The text names it.
	Limit
	// NotFound: there is no such target, key, series or step. The text names it.
	NotFound
	// Failed: the host tried, and the system behind the target refused or broke. The text says how.
	Failed
	// TimedOut: no answer in time. A write may or may not have happened.
	TimedOut
)

// Error is one line for a person: what went wrong and, where the host said it, the way out.
func (e *CallError) Error() string {
	switch e.Reason {
	case NotGranted:
		return "not granted; this would allow it: " + e.Text
	case NotInPlan:
		return "not in the approved plan (" + e.Text + ")"
	case StateChanged:
		return "the target has changed since the plan: now " + e.Text
	case Limit:
		return "limit used up: " + e.Text
	case NotFound:
		return "not found: " + e.Text
	case Failed:
		return "failed: " + e.Text
	default:
		return e.Reason.Error()
	}
}

// Is makes errors.Is(err, salve.NotFound) work.
func (e *CallError) Is(target error) bool {
	reason, ok := target.(Reason)
	return ok && reason == e.Reason
}

// Error is the reason in words.
func (r Reason) Error() string {
	switch r {
	case NotGranted:
		return "not granted"
	case NotInPlan:
		return "not in the approved plan"
	case NotRecorded:
		return "not in the recording"
	case StateChanged:
		return "the target has changed since the plan"
	case KillSwitch:
		return "Salve is paused"
	case Limit:
		return "limit used up"
	case NotFound:
		return "not found"
	case Failed:
		return "failed"
	case TimedOut:
		return "no answer in time, it may or may not have happened"
	default:
		return "unknown"
	}
}

// IsDenied tells whether err is a refusal: nothing happened.
func IsDenied(err error) bool {
	var call *CallError
	return errors.As(err, &call) && call.Reason <= Limit
}
