package detector

import (
	"errors"
	"unsafe"

	"github.com/salve-healing/salve/sdk/go/internal/host"
)

var (
	exported Maker
	instance Detector
)

var errNotConfigured = errors.New("`configure` was not called")

// Export makes the plugin a detector. Call it from init.
func Export[P any](create func(parameters P) (Detector, error)) { exported = Bind(create) }

type seriesRecord struct {
	id         uint32
	name, unit host.Text
	group      uint32
	limit      host.Option[float64]
	attributes host.Pairs
}

type batchRecord struct {
	sequence, now   uint64
	added           host.List[seriesRecord]
	removed         host.List[uint32]
	series, offsets host.List[uint32]
	times           host.List[uint64]
	values          host.List[float64]
	pointFlags      host.List[uint8]
	scores          bool
}

type observationRecord struct {
	series                        uint32
	time                          uint64
	kind                          uint8
	rising                        bool
	score, confidence             float32
	value, expected, lower, upper float64
	reason                        host.Text
	extra                         host.Pairs
}

type scoresRecord struct {
	score, confidence      host.List[float32]
	expected, lower, upper host.List[float64]
}

type outputRecord struct {
	observations host.List[observationRecord]
	scores       host.Option[scoresRecord]
}

type stateRecord struct {
	format uint32
	bytes  host.List[byte]
}

func liftSeries(record *seriesRecord) Series {
	return Series{
		ID:         record.id,
		Name:       record.name.String(),
		Unit:       record.unit.String(),
		Group:      record.group,
		Limit:      host.LiftOptional(record.limit),
		Attributes: host.LiftAttributes(record.attributes),
	}
}

func lowerObservation(observation *Observation) observationRecord {
	return observationRecord{
		series:     observation.Series,
		time:       observation.Time,
		kind:       uint8(observation.Kind),
		rising:     observation.Rising,
		score:      observation.Score,
		confidence: observation.Confidence,
		value:      observation.Value,
		expected:   observation.Expected,
		lower:      observation.Lower,
		upper:      observation.Upper,
		reason:     host.LowerText(observation.Reason),
		extra:      host.LowerAttributes(observation.Extra),
	}
}

func lowerOutput(output *Output) outputRecord {
	record := outputRecord{observations: host.Lower(output.Observations, lowerObservation)}
	if scores := output.Scores; scores != nil {
		record.scores = host.Some(scoresRecord{
			score:      host.LowerSlice(scores.Score),
			confidence: host.LowerSlice(scores.Confidence),
			expected:   host.LowerSlice(scores.Expected),
			lower:      host.LowerSlice(scores.Lower),
			upper:      host.LowerSlice(scores.Upper),
		})
	}
	return record
}

//go:wasmexport salve:plugin/detect@0.1.0#configure
func exportConfigure(parameters, parametersLength uint32) unsafe.Pointer {
	defer host.BeginDetector(0)()
	if exported == nil {
		panic("no detector: call detector.Export from init")
	}
	made, err := exported(host.TextAt(parameters, parametersLength).String())
	instance = made
	return host.FinishEmpty(err)
}

//go:wasmexport salve:plugin/detect@0.1.0#observe
func exportObserve(arguments unsafe.Pointer) unsafe.Pointer {
	record := (*batchRecord)(arguments)
	defer host.BeginDetector(record.now)()
	if instance == nil {
		return host.Finish[outputRecord, Output](nil, errNotConfigured, lowerOutput)
	}
	output, err := instance.Observe(&Batch{
		Sequence:   record.sequence,
		Now:        record.now,
		Added:      host.Lift(record.added, liftSeries),
		Removed:    record.removed.View(),
		Series:     record.series.View(),
		Offsets:    record.offsets.View(),
		Times:      record.times.View(),
		Values:     record.values.View(),
		PointFlags: record.pointFlags.View(),
		Scores:     record.scores,
	})
	if err == nil && output == nil {
		output = &Output{}
	}
	return host.Finish(output, err, lowerOutput)
}

//go:wasmexport salve:plugin/detect@0.1.0#snapshot
func exportSnapshot() unsafe.Pointer {
	defer host.BeginDetector(0)()
	lower := func(state *State) stateRecord { return stateRecord{state.Format, host.LowerSlice(state.Bytes)} }
	if instance == nil {
		return host.Finish[stateRecord, State](nil, errNotConfigured, lower)
	}
	state, err := instance.Snapshot()
	if err == nil && state == nil {
		state = &State{}
	}
	return host.Finish(state, err, lower)
}

//go:wasmexport salve:plugin/detect@0.1.0#restore
func exportRestore(format, bytes, bytesLength uint32) unsafe.Pointer {
	defer host.BeginDetector(0)()
	if instance == nil {
		return host.FinishEmpty(errNotConfigured)
	}
	view := host.ListAt[byte](bytes, bytesLength).View()
	return host.FinishEmpty(instance.Restore(&State{Format: format, Bytes: append([]byte(nil), view...)}))
}
