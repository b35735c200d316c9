// Package detector makes a plugin a detector: it sees points and says what is abnormal.
//
//	func init() { detector.Export(New) }
//
//	func main() {}
//
// One instance lives long and owns a shard of series. Its only clock is the time of its batches (which [time.Now] follows):
// a detector that is given the same batches says the same things.
package detector

import (
	"encoding/json"
	"fmt"
	"strings"

	salve "github.com/salve-healing/salve/sdk/go"
)

// FlagAfterGap is the bit of a point's flags that says: first after a gap or a counter reset.
const FlagAfterGap = 1

// Detector watches series.
type Detector interface {
	// Observe takes a batch: first Removed, then Added, then the points. The batch may be empty, so that absence is noticed,
	// and its columns are good until Observe returns.
	//
	// After an error the host tries the series one by one and sets aside the one at fault.
	Observe(batch *Batch) (*Output, error)
	// Snapshot gives all that must survive a restart. The host calls it every minute.
	Snapshot() (*State, error)
	// Restore takes over a snapshot in place of a cold start. Series ids are new afterwards: the host sends Added for all
	// series again, so state is found by the series' identity (see [Table]). After an error the host starts cold.
	Restore(state *State) error
}

// Series is described when it comes.
type Series struct {
	// ID is unique in this instance; dense from 0, reused after removal. Added again with the same id, it is the same series
	// with another limit.
	ID uint32
	// Name is for instance "http.server.request.duration", or a derived one such as "salve.span.error_ratio".
	Name string
	// Unit is a UCUM unit.
	Unit string
	// Group: series of one group are peers and always come to the same instance.
	Group uint32
	// Limit is a known capacity in the series' unit.
	Limit *float64
	// Attributes of resource and points.
	Attributes salve.Attributes
}

// Batch has new points of many series, as columns. Times are Unix nanoseconds.
type Batch struct {
	// Sequence rises by one with each batch of this instance.
	Sequence uint64
	// Now is the host's time.
	Now uint64
	// Added series.
	Added []Series
	// Removed ids.
	Removed []uint32
	// Series: a column of ids; Series[i] owns the points Offsets[i] to Offsets[i+1].
	Series []uint32
	// Offsets is one longer than Series.
	Offsets []uint32
	// Times of the points.
	Times []uint64
	// Values of the points; never NaN or infinite.
	Values []float64
	// PointFlags of the points; see [FlagAfterGap].
	PointFlags []uint8
	// Scores: whether dense scores are asked for.
	Scores bool
}

// EachSeries calls visit with each series that has a place in the columns and the range of its points, until visit fails.
func (b *Batch) EachSeries(visit func(series uint32, from, to int) error) error {
	points := uint32(len(b.Values))
	fits := len(b.Times) == len(b.Values) && len(b.PointFlags) == len(b.Values) &&
		(len(b.Series) == 0 || len(b.Offsets) == len(b.Series)+1)
	for index := 0; fits && index < len(b.Series); index++ {
		from, to := b.Offsets[index], b.Offsets[index+1]
		if fits = from <= to && to <= points; !fits {
			break
		}
		if err := visit(b.Series[index], int(from), int(to)); err != nil {
			return err
		}
	}
	if !fits {
		return fmt.Errorf("the columns of batch %d do not fit together", b.Sequence)
	}
	return nil
}

// Observation is one abnormal point. Repeat it for every point while the episode lasts: the host makes one alert of it, and
// takes the series as recovered once points come without one.
type Observation struct {
	// Series is its id.
	Series uint32
	// Time of the point, Unix nanoseconds.
	Time uint64
	// Kind: the way in which it is abnormal.
	Kind salve.Kind
	// Rising: above rather than below what was expected.
	Rising bool
	// Score is how abnormal, 0 to 1; 0.5 is where the detector would alert by itself.
	Score float32
	// Confidence is how much the detector trusts its own model of this series, 0 to 1.
	Confidence float32
	// Value that was measured.
	Value float64
	// Expected value.
	Expected float64
	// Lower end of the normal range.
	Lower float64
	// Upper end of the normal range.
	Upper float64
	// Reason is one sentence for a person.
	Reason string
	// Extra has details by name.
	Extra salve.Attributes
}

// Scores have one entry for each point of the batch.
type Scores struct {
	// Score as in [Observation].
	Score []float32
	// Confidence as in [Observation].
	Confidence []float32
	// Expected as in [Observation].
	Expected []float64
	// Lower as in [Observation].
	Lower []float64
	// Upper as in [Observation].
	Upper []float64
}

// NewScores are scores of 0 with nothing known, for so many points.
func NewScores(points int) *Scores {
	return &Scores{
		Score:      make([]float32, points),
		Confidence: make([]float32, points),
		Expected:   make([]float64, points),
		Lower:      make([]float64, points),
		Upper:      make([]float64, points),
	}
}

// Output is what a detector says of a batch. It may be the same one each time: the host has read it before the next batch.
type Output struct {
	// Observations of abnormal points.
	Observations []Observation
	// Scores if they were asked for.
	Scores *Scores
}

// State of a detector, opaque to the host.
type State struct {
	// Format is the author's own number of the layout of Bytes.
	Format uint32
	// Bytes of the state.
	Bytes []byte
}

// Maker makes a configured detector of parameters as JSON: what the host and tests call.
type Maker func(parameters string) (Detector, error)

// Bind makes a [Maker] of a function that takes parameters. [Export] does this; tests do by the package salvetest. P: the
// parameters of the operator's binding, which the host has checked against the manifest's schema. A P with defaults sets
// them in a method UnmarshalJSON, or make sets them where they are zero.
func Bind[P any](create func(parameters P) (Detector, error)) Maker {
	return func(text string) (Detector, error) {
		var parameters P
		if strings.TrimSpace(text) == "" {
			text = "{}"
		}
		if err := json.Unmarshal([]byte(text), &parameters); err != nil {
			return nil, fmt.Errorf("parameters: %w", err)
		}
		return create(parameters)
	}
}
