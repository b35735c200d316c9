// A detector that compares each series with its peers: replicas of one service, shards of one table, disks of one array.
//
// Load moves all peers together, and the day has its hours; a replica that is ill moves away from the others. So what is watched
// is the distance from what the peers have in common (the median of their values, each less its own usual distance: else a peer
// that leaves the middle would move the median for its neighbours), and a change is found by CUSUM in `shift.go`. A series with
// fewer than two peers is compared with its own past.
package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/detector"
)

const (
	// Layout of snapshots.
	format = 1
	// With fewer peers than this, itself included, there is no telling which of them moved.
	peersMin = 3
	// Peers that were not heard of for so long do not count.
	staleAfter = uint64(5 * time.Minute)
)

// Parameters are those of plugin.toml.
type Parameters struct {
	Slack         float64 `json:"slack"`
	Limit         float64 `json:"limit"`
	WindowPoints  float64 `json:"window_points"`
	WarmupPoints  float64 `json:"warmup_points"`
	ShiftMinRatio float64 `json:"shift_min_ratio"`
	RelearnPoints float64 `json:"relearn_points"`
}

// UnmarshalJSON sets what the operator left out.
func (p *Parameters) UnmarshalJSON(text []byte) error {
	type plain Parameters
	given := plain{Slack: 0.75, Limit: 10, WindowPoints: 120, WarmupPoints: 30, ShiftMinRatio: 0.05, RelearnPoints: 600}
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	*p = Parameters(given)
	return nil
}

// Series is what is known of one.
type series struct {
	group  uint32
	latest float64
	// When latest was measured by the host's clock; 0: never in this instance.
	heard uint64
	shift shift
}

// group is its members, and what was made of them for the batch with this number.
type group struct {
	members  []uint32
	sequence uint64
	common   float64
	peers    int
}

type peerShift struct {
	parameters Parameters
	table      detector.Table[series]
	groups     map[uint32]*group
	// Used again in each batch.
	values []float64
	output detector.Output
}

func create(parameters Parameters) (detector.Detector, error) {
	if parameters.WarmupPoints > parameters.WindowPoints {
		return nil, fmt.Errorf("warmup_points (%g) is more than window_points (%g)", parameters.WarmupPoints, parameters.WindowPoints)
	}
	return &peerShift{parameters: parameters, groups: map[uint32]*group{}}, nil
}

// regroup takes over who is whose peer.
func (d *peerShift) regroup(batch *detector.Batch) {
	if len(batch.Added) == 0 && len(batch.Removed) == 0 {
		return
	}
	d.table.Update(batch,
		func(added *detector.Series) *series { return &series{group: added.Group} },
		func(added *detector.Series, known *series) { known.group = added.Group })
	clear(d.groups)
	d.table.Each(func(id uint32, known *series) {
		if d.groups[known.group] == nil {
			d.groups[known.group] = &group{}
		}
		d.groups[known.group].members = append(d.groups[known.group].members, id)
	})
}

// compare finds what the newest values of a group have in common.
func (d *peerShift) compare(batch *detector.Batch, group *group) {
	if group.sequence == batch.Sequence {
		return
	}
	d.values = d.values[:0]
	for _, id := range group.members {
		if peer := d.table.Get(id); peer.heard != 0 && batch.Now-min(peer.heard, batch.Now) < staleAfter {
			d.values = append(d.values, clamp(peer.latest)-peer.shift.offset())
		}
	}
	group.sequence, group.peers, group.common = batch.Sequence, len(d.values), 0
	if group.peers >= peersMin {
		slices.Sort(d.values)
		middle := group.peers / 2
		group.common = d.values[middle]
		if group.peers%2 == 0 {
			group.common = d.values[middle-1]/2 + d.values[middle]/2
		}
	}
}

func (d *peerShift) Observe(batch *detector.Batch) (*detector.Output, error) {
	d.regroup(batch)
	d.output.Observations, d.output.Scores = d.output.Observations[:0], nil
	if batch.Scores {
		d.output.Scores = detector.NewScores(len(batch.Values))
	}
	// First all newest values, so that peers are compared at one time.
	err := batch.EachSeries(func(id uint32, from, to int) error {
		known := d.table.Get(id)
		if known == nil {
			return fmt.Errorf("points of series %d, which was not added", id)
		}
		if from < to {
			known.latest, known.heard = batch.Values[to-1], batch.Now
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = batch.EachSeries(func(id uint32, from, to int) error {
		known := d.table.Get(id)
		group := d.groups[known.group]
		d.compare(batch, group)
		for point := from; point < to; point++ {
			d.point(batch, id, known, group, point)
		}
		return nil
	})
	return &d.output, err
}

// point judges one point.
func (d *peerShift) point(batch *detector.Batch, id uint32, known *series, group *group, at int) {
	value := batch.Values[at]
	verdict := known.shift.next(value, group.common, group.peers >= peersMin, &d.parameters)
	if scores := d.output.Scores; scores != nil {
		scores.Score[at], scores.Confidence[at] = verdict.score, verdict.confidence
		scores.Expected[at], scores.Lower[at], scores.Upper[at] = verdict.expected, verdict.lower, verdict.upper
	}
	if !verdict.abnormal {
		return
	}
	direction := "below"
	if verdict.rising {
		direction = "above"
	}
	reason := fmt.Sprintf("%.4g is %s the %.4g that its own past gives", value, direction, verdict.expected)
	if group.peers >= peersMin {
		reason = fmt.Sprintf("%.4g is %s the %.4g that its %d peers give", value, direction, verdict.expected, group.peers-1)
	}
	d.output.Observations = append(d.output.Observations, detector.Observation{
		Series:     id,
		Time:       batch.Times[at],
		Kind:       salve.LevelShift,
		Rising:     verdict.rising,
		Score:      verdict.score,
		Confidence: verdict.confidence,
		Value:      value,
		Expected:   verdict.expected,
		Lower:      verdict.lower,
		Upper:      verdict.upper,
		Reason:     reason,
	})
}

func (d *peerShift) Snapshot() (*detector.State, error) {
	var to detector.Writer
	d.table.Write(&to, func(to *detector.Writer, known *series) { known.shift.write(to) })
	return &detector.State{Format: format, Bytes: to.Bytes()}, nil
}

func (d *peerShift) Restore(state *detector.State) error {
	if state.Format != format {
		return fmt.Errorf("the snapshot has format %d, this version reads %d", state.Format, format)
	}
	return d.table.Read(detector.NewReader(state.Bytes), func(from *detector.Reader) (*series, error) {
		known := &series{}
		return known, known.shift.read(from)
	})
}

func init() { detector.Export(create) }

func main() {}
