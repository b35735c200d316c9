package main

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/detector"
	"github.com/salve-healing/salve/sdk/go/salvetest"
)

// fleet is a detector over so many peers, with noise from a fixed seed.
type fleet struct {
	*testing.T
	*salvetest.Detector
	ids   []uint32
	noise *rand.Rand
	turn  int
}

func newFleet(t *testing.T, size int, parameters string) *fleet {
	t.Helper()
	test, err := salvetest.NewDetector(create, parameters)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{T: t, Detector: test, noise: rand.New(rand.NewPCG(1, 2))}
	for index := range size {
		pod := salve.Attributes{"k8s.pod.name": "shop-" + string(rune('a'+index))}
		f.ids = append(f.ids, test.Add("http.server.request.duration", 7, pod))
	}
	return f
}

// push sends a point of each peer: load that moves all, an offset of its own, noise, and what change adds.
func (f *fleet) push(change func(peer int) float64) []detector.Observation {
	f.Helper()
	load := 100 + 60*math.Sin(float64(f.turn)/40)
	f.turn++
	var points []salvetest.Point
	for index, id := range f.ids {
		value := load + float64(index)*3 + f.noise.NormFloat64()*2 + change(index)
		points = append(points, salvetest.Point{Series: id, Value: value})
	}
	observations, err := f.Push(points...)
	if err != nil {
		f.Fatal(err)
	}
	return observations
}

func nothing(int) float64 { return 0 }

func ill(peer int, by float64) func(int) float64 {
	return func(index int) float64 {
		if index == peer {
			return by
		}
		return 0
	}
}

// Load that moves all peers, by day or at once, is no shift.
func TestLoadIsNoShift(t *testing.T) {
	f := newFleet(t, 5, "{}")
	for turn := range 5_000 {
		jump := 0.0
		if turn > 2_500 {
			jump = 500
		}
		if observations := f.push(func(int) float64 { return jump }); len(observations) > 0 {
			t.Fatalf("turn %d: %+v", turn, observations[0])
		}
	}
}

// A peer that moves away is found soon, alone, in the right direction, until it comes back.
func TestOnePeerShifts(t *testing.T) {
	for _, by := range []float64{15, -15} {
		f := newFleet(t, 5, "{}")
		for range 500 {
			f.push(nothing)
		}
		found := -1
		for turn := range 100 {
			for _, observation := range f.push(ill(2, by)) {
				if observation.Series != f.ids[2] || observation.Rising != (by > 0) || observation.Kind != salve.LevelShift ||
					observation.Score < 0.5 || !strings.Contains(observation.Reason, "4 peers") {
					t.Fatalf("%+v", observation)
				}
				if found < 0 {
					found = turn
				}
			}
		}
		if found < 0 || found > 10 {
			t.Errorf("shift by %g found after %d points", by, found)
		}
		last := -1
		for turn := range 100 {
			if len(f.push(nothing)) > 0 {
				last = turn
			}
		}
		if last > 5 {
			t.Errorf("shift by %g still told %d points after its end", by, last)
		}
	}
}

// One wild point is no change of level.
func TestOneWildPoint(t *testing.T) {
	f := newFleet(t, 4, "{}")
	for turn := range 1_000 {
		change := nothing
		if turn > 100 && turn%50 == 0 {
			change = ill(1, 1e6)
		}
		if observations := f.push(change); len(observations) > 0 {
			t.Fatalf("turn %d: %+v", turn, observations[0])
		}
	}
}

// A series without peers is compared with its own past.
func TestAlone(t *testing.T) {
	test, err := salvetest.NewDetector(create, "{}")
	if err != nil {
		t.Fatal(err)
	}
	id, noise := test.Add("queue", 1, nil), rand.New(rand.NewPCG(3, 4))
	found := 0
	for turn := range 400 {
		level := 50.0
		if turn >= 300 {
			level = 80
		}
		observations, err := test.Push(salvetest.Point{Series: id, Value: level + noise.NormFloat64()})
		if err != nil {
			t.Fatal(err)
		}
		if turn < 300 && len(observations) > 0 {
			t.Fatalf("turn %d: %+v", turn, observations[0])
		}
		found += len(observations)
	}
	if found < 90 {
		t.Errorf("told %d of 100 shifted points", found)
	}
}

// What a restart interrupts goes on: the snapshot has all that was learnt, whatever ids the series have then.
func TestRestart(t *testing.T) {
	one, two := newFleet(t, 5, "{}"), newFleet(t, 5, "{}")
	for range 300 {
		one.push(nothing)
		two.push(nothing)
	}
	state, err := two.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := two.RestartFrom(state); err != nil {
		t.Fatal(err)
	}
	for turn := range 50 {
		a, b := one.push(ill(3, 15)), two.push(ill(3, 15))
		if len(a) != len(b) || len(a) > 0 && a[0].Score != b[0].Score {
			t.Fatalf("turn %d: %v, after a restart %v", turn, a, b)
		}
	}
	for _, broken := range []detector.State{
		{Format: 2},
		{Format: format, Bytes: state.Bytes[:len(state.Bytes)-1]},
		{Format: format, Bytes: []byte(strings.Repeat("\xff", 60))},
	} {
		if err := two.RestartFrom(&broken); err == nil {
			t.Errorf("took a broken snapshot of format %d", broken.Format)
		}
	}
}

// A new level that stays is the norm after a while.
func TestRelearns(t *testing.T) {
	f := newFleet(t, 5, `{"relearn_points": 100}`)
	for range 300 {
		f.push(nothing)
	}
	told := 0
	for turn := range 400 {
		count := len(f.push(ill(0, 30)))
		told += count
		if turn > 200 && count > 0 {
			t.Fatalf("turn %d: still told", turn)
		}
	}
	if told < 90 || told > 110 {
		t.Errorf("told %d points", told)
	}
}

// Whatever the numbers, what comes out is finite and in range, for scores too.
func TestExtremeNumbers(t *testing.T) {
	f := newFleet(t, 4, `{"warmup_points": 5, "window_points": 10}`)
	extremes := []float64{math.MaxFloat64, -math.MaxFloat64, 0, math.Copysign(0, -1), 5e-324, 1e300, -1e-300}
	random := rand.New(rand.NewPCG(5, 6))
	for range 2_000 {
		var points []salvetest.Point
		for _, id := range f.ids {
			points = append(points, salvetest.Point{Series: id, Value: extremes[random.IntN(len(extremes))]})
		}
		output, err := f.PushScored(true, points...)
		if err != nil {
			t.Fatal(err)
		}
		finite := func(numbers ...float64) {
			for _, number := range numbers {
				if math.IsNaN(number) || math.IsInf(number, 0) {
					t.Fatal(numbers)
				}
			}
		}
		for at := range points {
			score, confidence := float64(output.Scores.Score[at]), float64(output.Scores.Confidence[at])
			finite(score, confidence, output.Scores.Expected[at], output.Scores.Lower[at], output.Scores.Upper[at])
			if score < 0 || score > 1 || confidence < 0 || confidence > 1 {
				t.Fatal(score, confidence)
			}
		}
		for _, observation := range output.Observations {
			finite(observation.Expected, observation.Lower, observation.Upper)
		}
	}
}

// Parameters that make no sense are refused with a reason.
func TestParameters(t *testing.T) {
	if _, err := salvetest.NewDetector(create, `{"warmup_points": 500}`); err == nil ||
		err.Error() != "warmup_points (500) is more than window_points (120)" {
		t.Error(err)
	}
	if _, err := salvetest.NewDetector(create, `{"slack": "x"}`); err == nil {
		t.Error("took a text for a number")
	}
}
