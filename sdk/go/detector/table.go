package detector

import (
	"maps"
	"slices"
	"time"
)

// WaitFor is how long restored states wait for their series.
const WaitFor = time.Hour

// Table has the state of many series, found by their dense ids while the instance lives and by identity after a restart.
//
// A restored state waits until its series is added again; those that never come are dropped after [WaitFor] of the host's
// time. A snapshot holds live and waiting states, so that two restarts in a row lose nothing. The zero value is empty.
type Table[T any] struct {
	slots   []slot[T]
	waiting map[uint64]*T
	since   uint64
}

type slot[T any] struct {
	identity uint64
	state    *T
}

// Update takes over the batch's Removed and then its Added. create makes the state of a series that is not known from before
// or from a snapshot; adopt, which may be nil, fits a known state to the series as it is now.
func (t *Table[T]) Update(batch *Batch, create func(*Series) *T, adopt func(*Series, *T)) {
	for _, id := range batch.Removed {
		if int(id) < len(t.slots) {
			t.slots[id] = slot[T]{}
		}
	}
	for index := range batch.Added {
		series := &batch.Added[index]
		identity := Identity(series)
		if missing := int(series.ID) + 1 - len(t.slots); missing > 0 {
			t.slots = append(t.slots, make([]slot[T], missing)...)
		}
		place := &t.slots[series.ID]
		// A series is described again when its limit changes: what was learnt of it goes on.
		if place.state == nil || place.identity != identity {
			*place = slot[T]{identity, t.waiting[identity]}
			delete(t.waiting, identity)
		}
		if place.state == nil {
			place.state = create(series)
		} else if adopt != nil {
			adopt(series, place.state)
		}
	}
	if len(t.waiting) > 0 {
		if t.since == 0 {
			t.since = batch.Now
		}
		if batch.Now > t.since && batch.Now-t.since > uint64(WaitFor) {
			t.waiting = nil
		}
	}
}

// Get gives the state of a series; nil if it was not added.
func (t *Table[T]) Get(id uint32) *T {
	if int(id) >= len(t.slots) {
		return nil
	}
	return t.slots[id].state
}

// Each visits all live series by id.
func (t *Table[T]) Each(visit func(id uint32, state *T)) {
	for id := range t.slots {
		if state := t.slots[id].state; state != nil {
			visit(uint32(id), state)
		}
	}
}

// Write appends all states with the identities of their series; write appends one.
func (t *Table[T]) Write(to *Writer, write func(*Writer, *T)) {
	for id := range t.slots {
		if place := t.slots[id]; place.state != nil {
			to.Uint64(place.identity)
			write(to, place.state)
		}
	}
	for _, identity := range slices.Sorted(maps.Keys(t.waiting)) {
		to.Uint64(identity)
		write(to, t.waiting[identity])
	}
}

// Read takes all states that are left in from; they wait for their series. After an error the table is as it was.
func (t *Table[T]) Read(from *Reader, read func(*Reader) (*T, error)) error {
	waiting := map[uint64]*T{}
	for from.Len() > 0 {
		identity := from.Uint64()
		state, err := read(from)
		if err != nil {
			return err
		}
		if err := from.Err(); err != nil {
			return err
		}
		waiting[identity] = state
	}
	t.waiting, t.since = waiting, 0
	return nil
}

// Identity names a series across restarts: a hash of its name, unit and attributes in the order of their names. FNV-1a with
// 64 bits, finished by the mixer of MurmurHash3, as in the SDK for Rust.
func Identity(series *Series) uint64 {
	hash := uint64(0xcbf29ce484222325)
	feed := func(text string) {
		for index := range len(text) {
			hash = (hash ^ uint64(text[index])) * 0x100000001b3
		}
		// No UTF-8 text has this byte, so that parts cannot run into each other.
		hash = (hash ^ 0xff) * 0x100000001b3
	}
	feed(series.Name)
	feed(series.Unit)
	for _, name := range slices.Sorted(maps.Keys(series.Attributes)) {
		feed(name)
		feed(series.Attributes[name])
	}
	hash ^= hash >> 33
	hash *= 0xff51afd7ed558ccd
	hash ^= hash >> 33
	hash *= 0xc4ceb9fe1a85ec53
	return hash ^ hash>>33
}
