package main

import (
	"errors"
	"math"

	"github.com/salve-healing/salve/sdk/go/detector"
)

// Shift finds a lasting change of a series' distance from a reference: two-sided CUSUM over the distance, scaled by its own
// exponentially weighted mean and variance. What is abnormal is not learnt, so that a shift does not become the norm while it is
// still one.
//
// Sources: E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954) 100-115, for the sums; T. Finch, "Incremental
// calculation of weighted mean and variance" (2009), section 9, for mean and variance.
type shift struct {
	// Points learnt.
	points float64
	// Of the distance from the reference.
	mean, variance float64
	// Summed shift up and down beyond the slack, in standard deviations; 0 at least.
	up, down float64
	// Abnormal points in a row.
	abnormal float64
	// Whether the reference is that of peers; else it is 0, and the distance is the value itself.
	peers bool
}

type verdict struct {
	abnormal, rising       bool
	score, confidence      float32
	expected, lower, upper float64
}

// Shifts of one point count at most this much, so that one wild point is no change of level.
const stepMax = 4

// Values are kept away from where sums and squares would overflow.
const valueMax = 1e150

// offset is how far the series usually is from what it has in common with its peers.
func (s *shift) offset() float64 {
	if s.peers {
		return s.mean
	}
	return 0
}

// next judges a point and learns from it.
func (s *shift) next(value, reference float64, peers bool, with *Parameters) verdict {
	if peers != s.peers {
		// Distances from peers and from nothing have nothing to do with each other.
		*s = shift{peers: peers}
	}
	distance := clamp(value) - clamp(reference)
	expected := clamp(reference) + s.mean
	// Less than this is never worth a word, and a series that never moved has no deviation of its own.
	least := math.Max(math.Abs(expected)*with.ShiftMinRatio, 1e-12)
	deviation := math.Max(math.Sqrt(s.variance), least/3)

	learning := s.points < with.WarmupPoints
	if !learning {
		step := math.Max(-stepMax, math.Min(stepMax, (distance-s.mean)/deviation))
		// Bounded, so that the end of an episode is seen as fast as its beginning.
		s.up = math.Max(0, math.Min(2*with.Limit, s.up+step-with.Slack))
		s.down = math.Max(0, math.Min(2*with.Limit, s.down-step-with.Slack))
	}
	sum := math.Max(s.up, s.down)
	judged := verdict{
		rising:     s.up > s.down,
		score:      float32(sum / (sum + with.Limit)),
		confidence: float32(s.points / (s.points + with.WarmupPoints)),
		expected:   expected,
		lower:      expected - with.Slack*deviation - 2*deviation,
		upper:      expected + with.Slack*deviation + 2*deviation,
	}
	judged.abnormal = sum >= with.Limit && math.Abs(distance-s.mean) >= least
	if judged.abnormal {
		s.abnormal++
		if s.abnormal >= with.RelearnPoints {
			*s = shift{peers: peers}
		}
		return judged
	}
	s.abnormal = 0
	if sum < with.Limit/2 {
		s.learn(distance, with.WindowPoints)
	}
	return judged
}

// learn takes a distance into mean and variance: all alike at first, newer ones weighing more once the window is full.
func (s *shift) learn(distance, window float64) {
	s.points++
	weight := math.Max(1/s.points, 2/(window+1))
	step := distance - s.mean
	s.mean += weight * step
	s.variance = (1 - weight) * (s.variance + weight*step*step)
}

func clamp(value float64) float64 { return math.Max(-valueMax, math.Min(valueMax, value)) }

func (s *shift) write(to *detector.Writer) {
	for _, number := range []float64{s.points, s.mean, s.variance, s.up, s.down, s.abnormal} {
		to.Float64(number)
	}
	peers := uint32(0)
	if s.peers {
		peers = 1
	}
	to.Uint32(peers)
}

func (s *shift) read(from *detector.Reader) error {
	for _, number := range []*float64{&s.points, &s.mean, &s.variance, &s.up, &s.down, &s.abnormal} {
		*number = from.Float64()
		if math.IsNaN(*number) || math.IsInf(*number, 0) {
			return errors.New("the snapshot holds something that is no number")
		}
	}
	s.peers = from.Uint32() == 1
	return nil
}
