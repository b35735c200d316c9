package salvetest_test

import (
	"errors"
	"fmt"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/action"
	"github.com/salve-healing/salve/sdk/go/agent"
	"github.com/salve-healing/salve/sdk/go/config"
	"github.com/salve-healing/salve/sdk/go/detector"
	"github.com/salve-healing/salve/sdk/go/plan"
	"github.com/salve-healing/salve/sdk/go/process"
	"github.com/salve-healing/salve/sdk/go/salvetest"
	"github.com/salve-healing/salve/sdk/go/telemetry"
)

// SetPool sets the size of a pool.
type SetPool struct{}

// Parameters of SetPool.
type Parameters struct {
	Size int `json:"size"`
}

// Plan sets the key if it has another value.
func (SetPool) Plan(request *action.Request[Parameters]) (*plan.Plan, error) {
	target, err := request.Target()
	if err != nil {
		return nil, err
	}
	wanted := fmt.Sprint(request.Parameters.Size)
	now, _, err := config.Get(target.ID, "pool.size")
	if err != nil {
		return nil, err
	}
	if now == wanted {
		return nil, action.NotApplicable("it has that size already")
	}
	return plan.New("Set the pool to "+wanted, config.SetStep(target.ID, "pool.size", wanted)), nil
}

// An action is planned, executed and taken back.
func ExampleAction() {
	host := salvetest.NewHost().Config("checkout", "pool.size", "16")
	test := salvetest.NewAction[Parameters](host, SetPool{}, `{"size": 32}`, "checkout")
	approved, err := test.Plan()
	fmt.Println(approved.Summary, err)
	fmt.Println(approved.Steps[0].Arguments)

	outcome, err := test.Execute(approved)
	value, _ := host.ConfigValue("checkout", "pool.size")
	fmt.Println(outcome.Note, err, value)

	outcome, err = test.Undo(approved)
	value, _ = host.ConfigValue("checkout", "pool.size")
	fmt.Println(outcome.Note, err, value)
	// Output:
	// Set the pool to 32 <nil>
	// {"key":"pool.size","value":"32"}
	// 1 of 1 steps made <nil> 32
	// 1 calls taken back <nil> 16
}

// Ceiling reports what is above a ceiling.
type Ceiling struct{ Max float64 }

func newCeiling(c Ceiling) (detector.Detector, error) { return &c, nil }

// Observe judges each point.
func (c *Ceiling) Observe(batch *detector.Batch) (*detector.Output, error) {
	output := &detector.Output{}
	err := batch.EachSeries(func(series uint32, from, to int) error {
		for point := from; point < to; point++ {
			if value := batch.Values[point]; value > c.Max {
				output.Observations = append(output.Observations, detector.Observation{
					Series: series, Time: batch.Times[point], Kind: salve.Point, Rising: true,
					Score: 1, Confidence: 1, Value: value, Expected: c.Max, Upper: c.Max, Reason: "above the ceiling",
				})
			}
		}
		return nil
	})
	return output, err
}

// Snapshot has nothing to keep.
func (c *Ceiling) Snapshot() (*detector.State, error) { return &detector.State{}, nil }

// Restore has nothing to take.
func (c *Ceiling) Restore(*detector.State) error { return nil }

// A detector is given points.
func ExampleDetector() {
	test, err := salvetest.NewDetector(newCeiling, `{"max": 10}`)
	if err != nil {
		panic(err)
	}
	queue := test.Add("queue.length", 0, salve.Attributes{"service.name": "shop"})
	for _, value := range []float64{9, 11} {
		observations, err := test.Push(salvetest.Point{Series: queue, Value: value})
		fmt.Println(len(observations), err)
	}
	// Output:
	// 0 <nil>
	// 1 <nil>
}

// Loudest suspects the service with most errors.
type Loudest struct{}

// Consult looks at the time since the incident began.
func (Loudest) Consult(incident *agent.Incident, _ string) (*agent.Findings, error) {
	findings := &agent.Findings{}
	for _, service := range telemetry.Services(incident.Started, incident.Now) {
		findings.Hypotheses = append(findings.Hypotheses, agent.Hypothesis{
			Suspect: service.Service, Mechanism: "errors", Probability: service.ErrorRatio,
		})
	}
	return findings, nil
}

// An agent is asked for a cause.
func ExampleCause() {
	now := salvetest.Epoch
	host := salvetest.NewHost().Service(now.Add(-60e9), now, telemetry.ServiceStats{Service: "shop", ErrorRatio: 0.5})
	findings, err := salvetest.Cause(host, Loudest{}, &agent.Incident{Started: now.Add(-30e9), Now: now})
	fmt.Println(findings.Hypotheses[0].Suspect, findings.Hypotheses[0].Probability, err)
	// Output: shop 0.5 <nil>
}

// A call fails for a reason.
func ExampleHost_FailNext() {
	host := salvetest.NewHost().FailNext("config.get", &salve.CallError{Reason: salve.NotGranted, Text: "[[grant]] …"})
	_, err := salvetest.NewAction[Parameters](host, SetPool{}, `{"size": 32}`, "checkout").Plan()
	fmt.Println(err, errors.Is(err, salve.NotGranted), salve.IsDenied(err))
	// Output: not granted; this would allow it: [[grant]] … true true
}

// Without a host, natively, a call says what to do.
func Example() {
	_, err := process.StatusOf("shop")
	fmt.Println(err)
	// Output: failed: `process.status` was called natively without a host; run the plugin through the package salvetest
}
