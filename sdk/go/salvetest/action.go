package salvetest

import (
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/action"
	"github.com/salve-healing/salve/sdk/go/plan"
)

// Action is one request to an action, and the host that it runs on.
type Action struct {
	host  *Host
	bound *action.Bound
	call  *action.Call
}

// NewAction is a request with these parameters (JSON) for these targets. Each target selects the service of its own name.
func NewAction[P any](host *Host, tested action.Action[P], parameters string, targets ...string) *Action {
	call := &action.Call{
		Incident:   "inc-1",
		Parameters: parameters,
		Started:    host.clock.Add(-5 * time.Second),
		Now:        host.clock,
	}
	for _, target := range targets {
		attributes := salve.Attributes{"service.name": target}
		call.Targets = append(call.Targets, salve.Target{ID: target, Attributes: attributes})
	}
	return &Action{host, action.Bind(tested), call}
}

type answer[T any] struct {
	value T
	err   error
}

// Plan asks for a plan and completes it as the host does.
func (a *Action) Plan() (*plan.Plan, error) {
	got := run(a.host, planning, nil, func() answer[*plan.Plan] {
		proposal, err := a.bound.Plan(a.call)
		return answer[*plan.Plan]{proposal, err}
	})
	if got.err != nil {
		return nil, got.err
	}
	a.host.complete(got.value)
	return got.value, nil
}

// Execute executes an approved plan.
func (a *Action) Execute(approved *plan.Plan) (*action.Outcome, error) {
	got := run(a.host, executing, approved, func() answer[*action.Outcome] {
		outcome, err := a.bound.Execute(a.call, approved)
		return answer[*action.Outcome]{outcome, err}
	})
	return got.value, got.err
}

// Undo undoes what the host has receipts for.
func (a *Action) Undo(approved *plan.Plan) (*action.Outcome, error) {
	receipts := a.host.Receipts()
	got := run(a.host, undoing, approved, func() answer[*action.Outcome] {
		outcome, err := a.bound.Undo(a.call, approved, receipts)
		return answer[*action.Outcome]{outcome, err}
	})
	return got.value, got.err
}
