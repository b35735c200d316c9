// Package action makes a plugin an action: it plans writes, makes the approved ones, and takes them back.
//
//	func init() { action.Export[Parameters](Restart{}) }
//
//	func main() {}
//
// Only Plan must be written: the host makes sure that an action does what its plan says, and the default does exactly that.
package action

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/plan"
)

// Action plans. Each call gets a fresh instance, so there is nothing to remember. P: the parameters that a policy gives,
// read from JSON, which the host has checked against the manifest's schema.
type Action[P any] interface {
	// Plan says what it would do. May read, may not write. An error becomes what [Failure] says.
	Plan(request *Request[P]) (*plan.Plan, error)
}

// Executor is an action for which making the plan's steps in their order is not enough.
type Executor[P any] interface {
	// Execute does what the approved plan names, and nothing else.
	Execute(request *Request[P], approved *plan.Plan) (*Outcome, error)
}

// Undoer is an action for which making the plan's inverses is not enough.
type Undoer[P any] interface {
	// Undo takes back what the receipts say was applied.
	Undo(request *Request[P], approved *plan.Plan, receipts []salve.Receipt) (*Outcome, error)
}

// Request is what a policy asks of an action.
type Request[P any] struct {
	// Incident is its id.
	Incident string
	// Targets are what the policy wants acted on.
	Targets []salve.Target
	// Parameters of the action.
	Parameters P
	// Started is when the incident's first symptom began.
	Started time.Time
	// Now is when the host made the call.
	Now time.Time
}

// Target is the first target; a failure of kind [NotApplicable] if there is none.
func (r *Request[P]) Target() (*salve.Target, error) {
	if len(r.Targets) == 0 {
		return nil, NotApplicable("the request names no target")
	}
	return &r.Targets[0], nil
}

// Outcome is what an action says that it did. Nobody takes its word for the heal: the telemetry decides.
type Outcome struct {
	// Done: it did what it planned.
	Done bool
	// Note is one sentence for a person.
	Note string
	// Extra has details by name.
	Extra salve.Attributes
}

// Done is the outcome of an action that did what it planned.
func Done(note string) *Outcome { return &Outcome{Done: true, Note: note} }

// NotDone is the outcome of one that ended without doing all of it.
func NotDone(note string) *Outcome { return &Outcome{Note: note} }

// Failure is an error with the kind that the host is told. Other errors are failures too: [salve.NotFound] of a call is not
// applicable, everything else has failed.
type Failure struct {
	// Kind of the failure.
	Kind FailureKind
	// Text is one sentence for a person.
	Text string
}

// FailureKind says what a failure means.
type FailureKind uint8

// The kinds of the contract.
const (
	// KindNotApplicable: there is nothing to do here for this action.
	KindNotApplicable FailureKind = iota
	// KindInvalid: the parameters make no sense.
	KindInvalid
	// KindFailed: it tried, and it did not work.
	KindFailed
)

// Error is the text.
func (f *Failure) Error() string { return f.Text }

// NotApplicable: there is nothing to do here for this action, and why.
func NotApplicable(why string) error { return &Failure{KindNotApplicable, why} }

// Invalid: the parameters make no sense, and why.
func Invalid(why string) error { return &Failure{KindInvalid, why} }

// Failed: it did not work, and why.
func Failed(why string) error { return &Failure{KindFailed, why} }

// FailureOf is what the host is told of an error.
func FailureOf(err error) *Failure {
	var failure *Failure
	switch {
	case errors.As(err, &failure):
		return &Failure{failure.Kind, err.Error()}
	case errors.Is(err, salve.NotFound):
		return &Failure{KindNotApplicable, err.Error()}
	default:
		return &Failure{KindFailed, err.Error()}
	}
}

// Call is a request as it comes from the host, with the parameters as JSON.
type Call = Request[string]

// Bound is an action whose parameters are read from JSON: what the host and tests call.
type Bound struct {
	Plan    func(*Call) (*plan.Plan, error)
	Execute func(*Call, *plan.Plan) (*Outcome, error)
	Undo    func(*Call, *plan.Plan, []salve.Receipt) (*Outcome, error)
}

// Bind makes an action callable with parameters as JSON. [Export] does this; tests do by the package salvetest.
func Bind[P any](action Action[P]) *Bound {
	return &Bound{
		Plan: func(call *Call) (*plan.Plan, error) {
			request, err := parse[P](call)
			if err != nil {
				return nil, err
			}
			return action.Plan(request)
		},
		Execute: func(call *Call, approved *plan.Plan) (*Outcome, error) {
			request, err := parse[P](call)
			if err != nil {
				return nil, err
			}
			if executor, ok := action.(Executor[P]); ok {
				return executor.Execute(request, approved)
			}
			return ExecutePlan(approved)
		},
		Undo: func(call *Call, approved *plan.Plan, receipts []salve.Receipt) (*Outcome, error) {
			request, err := parse[P](call)
			if err != nil {
				return nil, err
			}
			if undoer, ok := action.(Undoer[P]); ok {
				return undoer.Undo(request, approved, receipts)
			}
			return UndoReceipts(approved, receipts)
		},
	}
}

func parse[P any](call *Call) (*Request[P], error) {
	request := &Request[P]{
		Incident: call.Incident,
		Targets:  call.Targets,
		Started:  call.Started,
		Now:      call.Now,
	}
	text := call.Parameters
	if strings.TrimSpace(text) == "" {
		text = "{}"
	}
	if err := json.Unmarshal([]byte(text), &request.Parameters); err != nil {
		return nil, Invalid("parameters: " + err.Error())
	}
	return request, nil
}
