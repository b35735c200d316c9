package salvetest_test

import (
	"errors"
	"testing"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/action"
	"github.com/salve-healing/salve/sdk/go/clock"
	"github.com/salve-healing/salve/sdk/go/config"
	"github.com/salve-healing/salve/sdk/go/detector"
	"github.com/salve-healing/salve/sdk/go/http"
	"github.com/salve-healing/salve/sdk/go/notify"
	"github.com/salve-healing/salve/sdk/go/plan"
	"github.com/salve-healing/salve/sdk/go/process"
	"github.com/salve-healing/salve/sdk/go/salvetest"
)

// scripted is an action made of functions.
type scripted struct {
	plan    func() (*plan.Plan, error)
	execute func(*plan.Plan) (*action.Outcome, error)
}

func (s scripted) Plan(*action.Request[struct{}]) (*plan.Plan, error) { return s.plan() }

func (s scripted) Execute(_ *action.Request[struct{}], approved *plan.Plan) (*action.Outcome, error) {
	if s.execute == nil {
		return action.ExecutePlan(approved)
	}
	return s.execute(approved)
}

func of(host *salvetest.Host, tested scripted) *salvetest.Action {
	return salvetest.NewAction[struct{}](host, tested, "{}", "shop")
}

// Writes while planning, and writes that no step licenses, are refused and change nothing.
func TestWritesNeedALicense(t *testing.T) {
	host := salvetest.NewHost().Process("shop").Config("shop", "a", "1")
	test := of(host, scripted{
		plan: func() (*plan.Plan, error) {
			if _, err := process.Stop("shop"); !errors.Is(err, salve.NotInPlan) {
				t.Error(err)
			}
			return plan.New("set a", config.SetStep("shop", "a", "2")), nil
		},
		execute: func(*plan.Plan) (*action.Outcome, error) {
			for _, call := range []func() (*salve.Receipt, error){
				func() (*salve.Receipt, error) { return config.Set("shop", "a", "3") },
				func() (*salve.Receipt, error) { return config.Remove("shop", "a") },
				func() (*salve.Receipt, error) { return config.Set("other", "a", "2") },
				func() (*salve.Receipt, error) { return process.Restart("shop") },
				func() (*salve.Receipt, error) { return notify.Send("shop", nil) },
			} {
				if _, err := call(); !errors.Is(err, salve.NotInPlan) || !salve.IsDenied(err) {
					t.Error(err)
				}
			}
			receipt, err := config.Set("shop", "a", "2")
			if err != nil || !receipt.Applied {
				t.Error(receipt, err)
			}
			return action.Done("set"), nil
		},
	})
	approved, err := test.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := test.Execute(approved); err != nil {
		t.Fatal(err)
	}
	if value, _ := host.ConfigValue("shop", "a"); value != "2" || len(host.Receipts()) != 1 {
		t.Error(value, host.Receipts())
	}
}

// A dry-run passes every step and changes nothing; an undo then has nothing to take back.
func TestDryRun(t *testing.T) {
	host := salvetest.NewHost().Process("shop").Config("shop", "a", "1").DryRun()
	test := of(host, scripted{plan: func() (*plan.Plan, error) {
		request := &http.Request{Target: "shop", Method: "POST", Path: "/x"}
		return plan.New("all", config.SetStep("shop", "a", "2"), process.StopStep("shop"), http.SendStep(request),
			notify.SendStep("on-call", []salve.Field{{Name: "what", Value: "x"}})), nil
	}})
	approved, err := test.Plan()
	if err != nil {
		t.Fatal(err)
	}
	outcome, err := test.Execute(approved)
	if err != nil || outcome.Note != "4 of 4 steps passed, 0 applied" {
		t.Fatal(outcome, err)
	}
	if value, _ := host.ConfigValue("shop", "a"); value != "1" || host.ProcessNow("shop").State != "running" ||
		len(host.Requests()) != 0 || len(host.Messages()) != 0 {
		t.Error("a dry-run wrote")
	}
	if outcome, err = test.Undo(approved); err != nil || outcome.Note != "0 calls taken back" {
		t.Error(outcome, err)
	}
}

// Polling ends when it is true, when it fails, and in time.
func TestPolling(t *testing.T) {
	host := salvetest.NewHost().Process("shop").StartDelay(300 * time.Millisecond)
	test := of(host, scripted{
		plan: func() (*plan.Plan, error) { return plan.New("restart", process.RestartStep("shop")), nil },
		execute: func(*plan.Plan) (*action.Outcome, error) {
			if _, err := process.Restart("shop"); err != nil {
				return nil, err
			}
			began := clock.Now()
			done, err := clock.Poll(time.Second, 100*time.Millisecond, func() (bool, error) {
				status, err := process.StatusOf("shop")
				return err == nil && status.PID != nil, err
			})
			if took := clock.Now().Sub(began); !done || err != nil || took != 300*time.Millisecond {
				t.Error(done, err, took)
			}
			asked := 0
			done, err = clock.Poll(time.Second, 400*time.Millisecond, func() (bool, error) { asked++; return false, nil })
			if done || err != nil || asked != 4 {
				t.Error(done, err, asked)
			}
			failing := errors.New("no")
			if _, err = clock.Poll(time.Second, 1, func() (bool, error) { return false, failing }); err != failing {
				t.Error(err)
			}
			return action.Done(""), nil
		},
	})
	approved, err := test.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := test.Execute(approved); err != nil {
		t.Fatal(err)
	}
}

// What an error means to the host.
func TestFailures(t *testing.T) {
	for _, row := range []struct {
		err  error
		kind action.FailureKind
	}{
		{action.Invalid("x"), action.KindInvalid},
		{action.NotApplicable("x"), action.KindNotApplicable},
		{errors.New("x"), action.KindFailed},
		{&salve.CallError{Reason: salve.NotFound, Text: "x"}, action.KindNotApplicable},
		{&salve.CallError{Reason: salve.Failed, Text: "x"}, action.KindFailed},
		{&salve.CallError{Reason: salve.TimedOut}, action.KindFailed},
	} {
		if failure := action.FailureOf(row.err); failure.Kind != row.kind || failure.Text != row.err.Error() {
			t.Errorf("%v: %+v", row.err, failure)
		}
	}
	_, err := salvetest.NewAction[Parameters](salvetest.NewHost(), SetPool{}, `{"size": "x"}`, "shop").Plan()
	if action.FailureOf(err).Kind != action.KindInvalid {
		t.Error(err)
	}
	_, err = salvetest.NewAction[Parameters](salvetest.NewHost(), SetPool{}, "", "shop").Plan()
	if err != nil {
		t.Error("no parameters are empty ones:", err)
	}
}

// State is found by identity after a restart, and two restarts in a row lose nothing.
func TestTable(t *testing.T) {
	count := func() *uint32 { return new(uint32) }
	added := func(id uint32, name string) detector.Series {
		return detector.Series{ID: id, Name: name, Attributes: salve.Attributes{"a": "1", "b": "2"}}
	}
	write := func(to *detector.Writer, state *uint32) { to.Uint32(*state) }
	read := func(from *detector.Reader) (*uint32, error) {
		state := from.Uint32()
		return &state, nil
	}
	create := func(*detector.Series) *uint32 { return count() }

	var first detector.Table[uint32]
	first.Update(&detector.Batch{Added: []detector.Series{added(0, "x"), added(5, "y")}}, create, nil)
	*first.Get(0), *first.Get(5) = 10, 20
	first.Update(&detector.Batch{Added: []detector.Series{added(0, "x")}}, create, nil)
	if *first.Get(0) != 10 || first.Get(1) != nil || first.Get(99) != nil {
		t.Error("described again, it lost its state")
	}
	var to detector.Writer
	first.Write(&to, write)

	var second detector.Table[uint32]
	if err := second.Read(detector.NewReader(to.Bytes()), read); err != nil {
		t.Fatal(err)
	}
	second.Update(&detector.Batch{Now: 1, Added: []detector.Series{added(1, "y")}}, create, nil)
	var again detector.Writer
	second.Write(&again, write)

	var third detector.Table[uint32]
	if err := third.Read(detector.NewReader(again.Bytes()), read); err != nil {
		t.Fatal(err)
	}
	late := uint64(detector.WaitFor) + 2
	third.Update(&detector.Batch{Now: 1, Added: []detector.Series{added(0, "x")}}, create, nil)
	third.Update(&detector.Batch{Now: late, Removed: []uint32{0}}, create, nil)
	third.Update(&detector.Batch{Now: late, Added: []detector.Series{added(0, "y")}}, create, nil)
	if *third.Get(0) != 0 {
		t.Error("a state waited for longer than it may")
	}
	if err := third.Read(detector.NewReader(to.Bytes()[:5]), read); err != detector.ErrShort {
		t.Error(err)
	}
}

// Columns that do not fit together are an error, not a panic.
func TestEachSeries(t *testing.T) {
	for _, batch := range []detector.Batch{
		{Series: []uint32{1}, Offsets: []uint32{0}},
		{Series: []uint32{1}, Offsets: []uint32{0, 5}},
		{Series: []uint32{1, 2}, Offsets: []uint32{1, 0, 1}, Times: make([]uint64, 1), Values: make([]float64, 1), PointFlags: make([]uint8, 1)},
		{Values: make([]float64, 1)},
	} {
		if err := batch.EachSeries(func(uint32, int, int) error { return nil }); err == nil {
			t.Errorf("%+v", batch)
		}
	}
	empty := detector.Batch{Offsets: []uint32{0}}
	if err := empty.EachSeries(nil); err != nil {
		t.Error(err)
	}
}
