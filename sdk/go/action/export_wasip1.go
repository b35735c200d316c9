package action

import (
	"encoding/json"
	"unsafe"

	"github.com/salve-healing/salve/sdk/go/internal/host"
	"github.com/salve-healing/salve/sdk/go/plan"
)

var exported *Bound

// Export makes the plugin an action. Call it from init.
func Export[P any](action Action[P]) {
	exported = Bind(action)
	// The JSON package makes its tables of a type when it first meets it: now, when the plugin is built, and not in each call.
	var unused P
	_ = json.Unmarshal([]byte("{}"), &unused)
	host.Ready()
}

type stepRecord struct {
	capability, verb, target, arguments host.Text
	before, after, inverse              host.Option[host.Text]
}

type expectationRecord struct {
	service, signal  host.Text
	lower, upper     host.Option[float64]
	withinMs, holdMs uint64
	samplesMin       uint32
}

type proposalRecord struct {
	summary host.Text
	steps   host.List[stepRecord]
	expect  host.List[expectationRecord]
	extra   host.Pairs
}

type outcomeRecord struct {
	done  bool
	note  host.Text
	extra host.Pairs
}

type failureRecord struct {
	kind uint8
	text host.Text
}

// answer is result<T, failure>; both values stand at the same place, and the failure is the smaller one.
type answer[T any] struct {
	failed bool
	value  T
}

// arguments of undo, which are too many for parameters.
type undoRecord struct {
	incident     host.Text
	targets      host.List[host.TargetRecord]
	parameters   host.Text
	started, now uint64
	plan         proposalRecord
	receipts     host.List[host.ReceiptRecord]
}

func finish[T, U any](value *U, err error, lower func(*U) T) unsafe.Pointer {
	area := new(answer[T])
	if err == nil && value == nil {
		err = Failed("the plugin gave neither a value nor an error")
	}
	if err != nil {
		failure := FailureOf(err)
		area.failed = true
		*(*failureRecord)(unsafe.Pointer(&area.value)) =
			failureRecord{uint8(failure.Kind), host.LowerText(failure.Text)}
	} else {
		area.value = lower(value)
	}
	return host.Keep(area)
}

func lowerStep(step *plan.Step) stepRecord {
	return stepRecord{
		capability: host.LowerText(step.Capability),
		verb:       host.LowerText(step.Verb),
		target:     host.LowerText(step.Target),
		arguments:  host.LowerText(step.Arguments),
		before:     host.LowerOptionalText(step.Before),
		after:      host.LowerOptionalText(step.After),
		inverse:    host.LowerOptionalText(step.Inverse),
	}
}

func liftStep(record *stepRecord) plan.Step {
	return plan.Step{
		Capability: record.capability.String(),
		Verb:       record.verb.String(),
		Target:     record.target.String(),
		Arguments:  record.arguments.String(),
		Before:     host.LiftOptionalText(record.before),
		After:      host.LiftOptionalText(record.after),
		Inverse:    host.LiftOptionalText(record.inverse),
	}
}

func lowerExpectation(expectation *plan.Expectation) expectationRecord {
	return expectationRecord{
		service:    host.LowerText(expectation.Service),
		signal:     host.LowerText(expectation.Signal),
		lower:      host.LowerOptional(expectation.Lower),
		upper:      host.LowerOptional(expectation.Upper),
		withinMs:   expectation.WithinMs,
		holdMs:     expectation.HoldMs,
		samplesMin: expectation.SamplesMin,
	}
}

func liftExpectation(record *expectationRecord) plan.Expectation {
	return plan.Expectation{
		Service:    record.service.String(),
		Signal:     record.signal.String(),
		Lower:      host.LiftOptional(record.lower),
		Upper:      host.LiftOptional(record.upper),
		WithinMs:   record.withinMs,
		HoldMs:     record.holdMs,
		SamplesMin: record.samplesMin,
	}
}

func lowerPlan(proposal *plan.Plan) proposalRecord {
	return proposalRecord{
		summary: host.LowerText(proposal.Summary),
		steps:   host.Lower(proposal.Steps, lowerStep),
		expect:  host.Lower(proposal.Expect, lowerExpectation),
		extra:   host.LowerAttributes(proposal.Extra),
	}
}

func liftPlan(record *proposalRecord) *plan.Plan {
	return &plan.Plan{
		Summary: record.summary.String(),
		Steps:   host.Lift(record.steps, liftStep),
		Expect:  host.Lift(record.expect, liftExpectation),
		Extra:   host.LiftAttributes(record.extra),
	}
}

func lowerOutcome(outcome *Outcome) outcomeRecord {
	return outcomeRecord{outcome.Done, host.LowerText(outcome.Note), host.LowerAttributes(outcome.Extra)}
}

func liftCall(incident host.Text, targets host.List[host.TargetRecord], parameters host.Text, started, now uint64) *Call {
	return &Call{
		Incident:   incident.String(),
		Targets:    host.Lift(targets, host.LiftTarget),
		Parameters: parameters.String(),
		Started:    host.Time(started),
		Now:        host.Time(now),
	}
}

func bound() *Bound {
	if exported == nil {
		panic("no action: call action.Export from init")
	}
	return exported
}

//go:wasmexport salve:plugin/act@0.1.0#plan
func exportPlan(
	incident, incidentLength, targets, targetsLength, parameters, parametersLength uint32, started, now uint64,
) unsafe.Pointer {
	defer host.BeginAt(now)()
	call := liftCall(host.TextAt(incident, incidentLength), host.ListAt[host.TargetRecord](targets, targetsLength),
		host.TextAt(parameters, parametersLength), started, now)
	proposal, err := bound().Plan(call)
	return finish(proposal, err, lowerPlan)
}

//go:wasmexport salve:plugin/act@0.1.0#execute
func exportExecute(
	incident, incidentLength, targets, targetsLength, parameters, parametersLength uint32, started, now uint64,
	summary, summaryLength, steps, stepsLength, expect, expectLength, extra, extraLength uint32,
) unsafe.Pointer {
	defer host.BeginAt(now)()
	call := liftCall(host.TextAt(incident, incidentLength), host.ListAt[host.TargetRecord](targets, targetsLength),
		host.TextAt(parameters, parametersLength), started, now)
	approved := liftPlan(&proposalRecord{
		summary: host.TextAt(summary, summaryLength),
		steps:   host.ListAt[stepRecord](steps, stepsLength),
		expect:  host.ListAt[expectationRecord](expect, expectLength),
		extra:   host.ListAt[host.Pair](extra, extraLength),
	})
	outcome, err := bound().Execute(call, approved)
	return finish(outcome, err, lowerOutcome)
}

//go:wasmexport salve:plugin/act@0.1.0#undo
func exportUndo(arguments unsafe.Pointer) unsafe.Pointer {
	record := (*undoRecord)(arguments)
	defer host.BeginAt(record.now)()
	call := liftCall(record.incident, record.targets, record.parameters, record.started, record.now)
	receipts := host.Lift(record.receipts, host.LiftReceipt)
	outcome, err := bound().Undo(call, liftPlan(&record.plan), receipts)
	return finish(outcome, err, lowerOutcome)
}
