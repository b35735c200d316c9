package salvetest

import (
	"slices"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/detector"
)

// Detector is an instance of a detector, and the batches that it is sent.
type Detector struct {
	// Step is the time between two batches.
	Step time.Duration

	host       *Host
	maker      detector.Maker
	parameters string
	instance   detector.Detector
	batch      *detector.Batch
	series     []detector.Series
}

// Point of a series.
type Point struct {
	Series uint32
	Value  float64
	// Flags; see [detector.FlagAfterGap].
	Flags uint8
}

// NewDetector is a configured instance without series. parameters: JSON.
func NewDetector[P any](create func(P) (detector.Detector, error), parameters string) (*Detector, error) {
	test := &Detector{
		Step:       time.Second,
		host:       NewHost(),
		maker:      detector.Bind(create),
		parameters: parameters,
		batch:      &detector.Batch{Sequence: 1, Now: uint64(Epoch.UnixNano())},
	}
	return test, test.make()
}

func (d *Detector) make() error {
	got := run(d.host, planning, nil, func() answer[detector.Detector] {
		instance, err := d.maker(d.parameters)
		return answer[detector.Detector]{instance, err}
	})
	d.instance = got.value
	return got.err
}

// Add adds a series with the next batch and gives its id. Series of one group are peers.
func (d *Detector) Add(name string, group uint32, attributes salve.Attributes) uint32 {
	id := uint32(len(d.series))
	series := detector.Series{ID: id, Name: name, Unit: "1", Group: group, Attributes: attributes}
	d.series = append(d.series, series)
	d.batch.Added = append(d.batch.Added, series)
	return id
}

// Remove removes a series with the next batch.
func (d *Detector) Remove(id uint32) { d.batch.Removed = append(d.batch.Removed, id) }

// Now is the host's time of the next batch.
func (d *Detector) Now() time.Time { return time.Unix(0, int64(d.batch.Now)).UTC() }

// Wait lets time pass before the next batch.
func (d *Detector) Wait(duration time.Duration) { d.batch.Now += uint64(duration) }

// Push sends points, those of one series side by side, and gives what was observed.
func (d *Detector) Push(points ...Point) ([]detector.Observation, error) {
	output, err := d.PushScored(false, points...)
	if err != nil {
		return nil, err
	}
	return output.Observations, nil
}

// PushScored sends points, and asks for dense scores or not.
func (d *Detector) PushScored(scores bool, points ...Point) (*detector.Output, error) {
	batch := d.batch
	d.batch = &detector.Batch{Sequence: batch.Sequence + 1, Now: batch.Now + uint64(d.Step)}
	batch.Scores, batch.Offsets = scores, []uint32{0}
	for _, point := range points {
		if count := len(batch.Series); count == 0 || batch.Series[count-1] != point.Series {
			batch.Series = append(batch.Series, point.Series)
			batch.Offsets = append(batch.Offsets, 0)
		}
		batch.Times = append(batch.Times, batch.Now)
		batch.Values = append(batch.Values, point.Value)
		batch.PointFlags = append(batch.PointFlags, point.Flags)
		batch.Offsets[len(batch.Offsets)-1] = uint32(len(batch.Values))
	}
	got := run(d.host, planning, nil, func() answer[*detector.Output] {
		output, err := d.instance.Observe(batch)
		return answer[*detector.Output]{output, err}
	})
	if got.err == nil && got.value == nil {
		got.value = &detector.Output{}
	}
	return got.value, got.err
}

// Snapshot is the instance's.
func (d *Detector) Snapshot() (*detector.State, error) { return d.instance.Snapshot() }

// RestartFrom replaces the instance by a fresh one that takes over the snapshot: the next batch adds all series again, in
// reverse order.
func (d *Detector) RestartFrom(state *detector.State) error {
	if err := d.make(); err != nil {
		return err
	}
	if err := d.instance.Restore(state); err != nil {
		return err
	}
	d.batch.Added = slices.Clone(d.series)
	slices.Reverse(d.batch.Added)
	return nil
}

// Logs that the plugin wrote.
func (d *Detector) Logs() []LogLine { return d.host.Logs() }
