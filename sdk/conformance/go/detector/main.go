// The suite's detector; sdk/conformance/README.md says how it behaves.
package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"conformance/common"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/detector"
)

const (
	format       = 7
	deviationMax = 1e300
)

type parameters struct {
	Threshold     *float64 `json:"threshold"`
	Reason        string   `json:"reason"`
	ReportMissing bool     `json:"report_missing"`
	FailConfigure *string  `json:"fail_configure"`
	FailObserve   *string  `json:"fail_observe"`
	FailAt        string   `json:"fail_at"`
}

type mean struct {
	count     uint64
	sum, last float64
}

type known struct {
	identity string
	mean     mean
}

type scripted struct {
	parameters parameters
	threshold  float64
	series     map[uint32]*known
	restored   map[string]mean
	newest     string
}

func create(parameters parameters) (detector.Detector, error) {
	if parameters.FailConfigure != nil {
		return nil, errors.New(*parameters.FailConfigure)
	}
	threshold := 1.0
	if parameters.Threshold != nil {
		threshold = *parameters.Threshold
	}
	return &scripted{parameters, threshold, map[uint32]*known{}, map[string]mean{}, "none"}, nil
}

func identity(series *detector.Series) string {
	return common.Record(common.Text(series.Name), common.Text(series.Unit), common.Attributes(series.Attributes))
}

func added(series detector.Series) string {
	return common.Record(common.Integer(series.ID), common.Text(series.Name), common.Text(series.Unit),
		common.Integer(series.Group), common.Option(series.Limit, common.Float), common.Attributes(series.Attributes))
}

func shown(batch *detector.Batch) string {
	return common.Record(common.Integer(batch.Sequence), common.Integer(batch.Now), common.Each(batch.Added, added),
		common.Each(batch.Removed, common.Integer), common.Each(batch.Series, common.Integer),
		common.Each(batch.Offsets, common.Integer), common.Each(batch.Times, common.Integer),
		common.Each(batch.Values, common.Float), common.Each(batch.PointFlags, common.Integer), common.Bool(batch.Scores))
}

func (s *scripted) ids() []uint32 { return slices.Sorted(maps.Keys(s.series)) }

func (s *scripted) Observe(batch *detector.Batch) (*detector.Output, error) {
	if s.parameters.FailObserve != nil && s.parameters.FailAt == strconv.FormatUint(batch.Sequence, 10) {
		return nil, errors.New(*s.parameters.FailObserve)
	}
	s.newest = shown(batch)
	for _, id := range batch.Removed {
		delete(s.series, id)
	}
	for index := range batch.Added {
		series := &batch.Added[index]
		identity := identity(series)
		if before, ok := s.series[series.ID]; !ok || before.identity != identity {
			s.series[series.ID] = &known{identity, s.restored[identity]}
			delete(s.restored, identity)
		}
	}
	output := &detector.Output{}
	scores := detector.NewScores(0)
	err := batch.EachSeries(func(id uint32, from, to int) error {
		known, ok := s.series[id]
		if !ok {
			return errors.New("an unknown series")
		}
		for point := from; point < to; point++ {
			s.point(batch, id, point, &known.mean, output, scores)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(batch.Values) == 0 && s.parameters.ReportMissing {
		for _, id := range s.ids() {
			mean := s.series[id].mean
			output.Observations = append(output.Observations, detector.Observation{
				Series:     id,
				Time:       batch.Now,
				Kind:       salve.Missing,
				Score:      1,
				Confidence: 1,
				Value:      mean.last,
				Expected:   float64(mean.count),
				Reason:     s.parameters.Reason,
			})
		}
	}
	if batch.Scores {
		output.Scores = scores
	}
	return output, nil
}

func (s *scripted) point(
	batch *detector.Batch, id uint32, point int, mean *mean, output *detector.Output, scores *detector.Scores,
) {
	value := batch.Values[point]
	if batch.PointFlags[point]&detector.FlagAfterGap != 0 {
		mean.count, mean.sum = 0, 0
	}
	count, expected := float64(mean.count), value
	if mean.count > 0 {
		expected = mean.sum / count
	}
	deviation := min(math.Abs(value-expected), deviationMax)
	score, confidence := float32(deviation/(1+deviation)), float32(count/(count+1))
	lower, upper := expected-s.threshold, expected+s.threshold
	if deviation > s.threshold {
		output.Observations = append(output.Observations, detector.Observation{
			Series:     id,
			Time:       batch.Times[point],
			Kind:       salve.Kind(mean.count % 5),
			Rising:     value > expected,
			Score:      score,
			Confidence: confidence,
			Value:      value,
			Expected:   expected,
			Lower:      lower,
			Upper:      upper,
			Reason:     s.parameters.Reason,
		})
	}
	scores.Score = append(scores.Score, score)
	scores.Confidence = append(scores.Confidence, confidence)
	scores.Expected = append(scores.Expected, expected)
	scores.Lower = append(scores.Lower, lower)
	scores.Upper = append(scores.Upper, upper)
	mean.sum, mean.count, mean.last = mean.sum+value, mean.count+1, value
	if math.IsInf(mean.sum, 0) {
		mean.count, mean.sum = 1, value
	}
}

func (s *scripted) Snapshot() (*detector.State, error) {
	var text strings.Builder
	text.WriteString(s.newest)
	for _, id := range s.ids() {
		known := s.series[id]
		fmt.Fprintf(&text, "\n%d %s %s %s", known.mean.count, common.Float(known.mean.sum), common.Float(known.mean.last),
			known.identity)
	}
	return &detector.State{Format: format, Bytes: []byte(text.String())}, nil
}

func (s *scripted) Restore(state *detector.State) error {
	if state.Format != format {
		return fmt.Errorf("format %d", state.Format)
	}
	_, lines, _ := strings.Cut(string(state.Bytes), "\n")
	for line := range strings.Lines(lines) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(parts) != 4 {
			return errors.New("a line is too short")
		}
		count, err := strconv.ParseUint(parts[0], 10, 64)
		if err != nil {
			return err
		}
		sum, err := strconv.ParseUint(parts[1], 16, 64)
		if err != nil {
			return err
		}
		last, err := strconv.ParseUint(parts[2], 16, 64)
		if err != nil {
			return err
		}
		s.restored[parts[3]] = mean{count, math.Float64frombits(sum), math.Float64frombits(last)}
	}
	return nil
}

func init() { detector.Export(create) }

func main() {}
