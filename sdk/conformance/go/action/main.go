// The suite's action; sdk/conformance/README.md says how it behaves.
package main

import (
	"conformance/common"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/action"
	"github.com/salve-healing/salve/sdk/go/config"
	"github.com/salve-healing/salve/sdk/go/http"
	"github.com/salve-healing/salve/sdk/go/notify"
	"github.com/salve-healing/salve/sdk/go/plan"
	"github.com/salve-healing/salve/sdk/go/process"
)

type scripted struct{}

type expected struct {
	Service    string   `json:"service"`
	Signal     string   `json:"signal"`
	Lower      *float64 `json:"lower"`
	Upper      *float64 `json:"upper"`
	WithinMs   string   `json:"within_ms"`
	HoldMs     string   `json:"hold_ms"`
	SamplesMin uint32   `json:"samples_min"`
}

type script struct {
	Log     []common.Line `json:"log"`
	Calls   []common.Call `json:"calls"`
	Failure *struct {
		Kind string `json:"kind"`
		Text string `json:"text"`
	} `json:"failure"`
	Summary    string        `json:"summary"`
	Steps      []common.Call `json:"steps"`
	Expect     []expected    `json:"expect"`
	FollowPlan bool          `json:"follow_plan"`
	Bodies     []string      `json:"bodies"`
	Done       bool          `json:"done"`
	Note       string        `json:"note"`
}

type request = action.Request[script]

func httpRequest(call *common.Call) *http.Request {
	return &http.Request{
		Target:         call.Target,
		Method:         call.Method,
		Path:           call.Path,
		Query:          call.Query.Fields(),
		Headers:        call.Headers.Fields(),
		Body:           common.Bytes(call.Body),
		IdempotencyKey: call.IdempotencyKey,
	}
}

func act(call *common.Call, asked *request) string {
	if term, ok := common.Observe(call, asked.Now); ok {
		return term
	}
	switch call.Call {
	case "process.status":
		return statusTerm(process.StatusOf(call.Target))
	case "process.start":
		return writtenTerm(process.Start(call.Target))
	case "process.stop":
		return writtenTerm(process.Stop(call.Target))
	case "process.restart":
		return writtenTerm(process.Restart(call.Target))
	case "config.get":
		value, ok, err := config.Get(call.Target, call.Key)
		if !ok {
			return common.Result("none", err)
		}
		return common.Result("some("+common.Text(value)+")", err)
	case "config.history":
		return versionsTerm(config.History(call.Target, call.Key))
	case "config.keys":
		return keysTerm(config.Keys(call.Target))
	case "config.set":
		if call.Value == nil {
			return writtenTerm(config.Remove(call.Target, call.Key))
		}
		return writtenTerm(config.Set(call.Target, call.Key, *call.Value))
	case "http.get":
		return answeredTerm(http.Get(httpRequest(call)))
	case "http.send":
		return sentTerm(http.Send(httpRequest(call)))
	case "notify.send":
		return writtenTerm(notify.Send(call.Target, call.Fields.Fields()))
	default:
		panic("no call " + call.Call)
	}
}

func step(call *common.Call) plan.Step {
	switch call.Call {
	case "process.start":
		return process.StartStep(call.Target)
	case "process.stop":
		return process.StopStep(call.Target)
	case "process.restart":
		return process.RestartStep(call.Target)
	case "config.set":
		if call.Value == nil {
			return config.RemoveStep(call.Target, call.Key)
		}
		return config.SetStep(call.Target, call.Key, *call.Value)
	case "http.send":
		return http.SendStep(httpRequest(call))
	case "notify.send":
		return notify.SendStep(call.Target, call.Fields.Fields())
	default:
		panic("no write " + call.Call)
	}
}

// follow writes the log and makes the calls; then it shows what was seen, or fails.
func follow(asked *request) (salve.Attributes, error) {
	script := &asked.Parameters
	common.Log(script.Log)
	answers := make([]string, len(script.Calls))
	for index := range script.Calls {
		answers[index] = act(&script.Calls[index], asked)
	}
	if failure := script.Failure; failure != nil {
		switch failure.Kind {
		case "not-applicable":
			return nil, action.NotApplicable(failure.Text)
		case "invalid":
			return nil, action.Invalid(failure.Text)
		default:
			return nil, action.Failed(failure.Text)
		}
	}
	return salve.Attributes{
		"request": common.Record(common.Text(asked.Incident), common.Each(asked.Targets, common.Target),
			common.Time(asked.Started), common.Time(asked.Now)),
		"answers": common.List(answers),
	}, nil
}

func (scripted) Plan(asked *request) (*plan.Plan, error) {
	extra, err := follow(asked)
	if err != nil {
		return nil, err
	}
	proposal := &plan.Plan{Summary: asked.Parameters.Summary, Extra: extra}
	for index := range asked.Parameters.Steps {
		proposal.Steps = append(proposal.Steps, step(&asked.Parameters.Steps[index]))
	}
	for _, expected := range asked.Parameters.Expect {
		proposal.Expect = append(proposal.Expect, plan.Expectation{
			Service:    expected.Service,
			Signal:     expected.Signal,
			Lower:      expected.Lower,
			Upper:      expected.Upper,
			WithinMs:   common.Uint(expected.WithinMs),
			HoldMs:     common.Uint(expected.HoldMs),
			SamplesMin: expected.SamplesMin,
		})
	}
	return proposal, nil
}

func (scripted) Execute(asked *request, approved *plan.Plan) (*action.Outcome, error) {
	extra, err := follow(asked)
	if err != nil {
		return nil, err
	}
	extra["plan"] = common.Plan(approved)
	outcome := &action.Outcome{Done: asked.Parameters.Done, Note: asked.Parameters.Note}
	if asked.Parameters.FollowPlan {
		var bodies [][]byte
		for _, body := range asked.Parameters.Bodies {
			bodies = append(bodies, common.Bytes(body))
		}
		if outcome, err = action.ExecutePlan(approved, bodies...); err != nil {
			return nil, err
		}
	}
	outcome.Extra = extra
	return outcome, nil
}

func (scripted) Undo(asked *request, approved *plan.Plan, receipts []salve.Receipt) (*action.Outcome, error) {
	extra, err := follow(asked)
	if err != nil {
		return nil, err
	}
	extra["plan"] = common.Plan(approved)
	extra["receipts"] = common.Each(receipts, common.Receipt)
	outcome := &action.Outcome{Done: asked.Parameters.Done, Note: asked.Parameters.Note}
	if asked.Parameters.FollowPlan {
		if outcome, err = action.UndoReceipts(approved, receipts); err != nil {
			return nil, err
		}
	}
	outcome.Extra = extra
	return outcome, nil
}

func init() { action.Export[script](scripted{}) }

func main() {}
