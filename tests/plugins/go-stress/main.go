// A detector for tests of Go's runtime inside of Salve. It works off one batch like this: garbage for the collector; two
// goroutines that sleep and answer on channels; a ticker that lives through all calls; and a heap of the wanted size, in
// which something moves. What it observes proves that all of this happened.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/detector"
)

type parameters struct {
	HeapMiB int `json:"heap_mib"`
}

// Block is a MiB with pointers in it, so that the collector has to follow them.
type block struct {
	next *block
	data [1 << 20]byte
}

type stress struct {
	heap    []*block
	turn    int
	calls   uint64
	ticks   uint64
	mutex   sync.Mutex
	garbage [][]byte
}

func create(parameters parameters) (detector.Detector, error) {
	s := &stress{garbage: make([][]byte, 64)}
	for range parameters.HeapMiB {
		s.heap = append(s.heap, &block{})
	}
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			s.mutex.Lock()
			s.ticks++
			s.mutex.Unlock()
		}
	}()
	return s, nil
}

// answer sleeps on the virtual clock and gives a number.
func answer(of uint64, after time.Duration, to chan<- uint64) {
	time.Sleep(after)
	to <- of
}

func (s *stress) Observe(batch *detector.Batch) (*detector.Output, error) {
	s.calls++
	for index := range 16 {
		// Kept for a while, so that it is not all gone at once.
		s.garbage[(int(s.calls)+index)%len(s.garbage)] = fmt.Appendf(nil, "call %d, part %d", s.calls, index)
	}
	if len(s.heap) > 0 {
		// A new block takes an old one's place and points to another.
		fresh := &block{next: s.heap[(s.turn+1)%len(s.heap)]}
		fresh.data[s.turn%len(fresh.data)] = 1
		s.heap[s.turn%len(s.heap)].next = nil
		s.heap[s.turn%len(s.heap)] = fresh
		s.turn++
	}
	began := time.Now()
	answers := make(chan uint64)
	go answer(1, 2*time.Millisecond, answers)
	go answer(2, time.Millisecond, answers)
	first, second := <-answers, <-answers
	slept := time.Since(began)
	if first != 2 || second != 1 || slept < 2*time.Millisecond || slept > time.Second {
		return nil, fmt.Errorf("goroutines answered %d, %d after %s", first, second, slept)
	}
	s.mutex.Lock()
	ticks := s.ticks
	s.mutex.Unlock()

	output := &detector.Output{}
	if len(batch.Series) > 0 {
		var memory runtime.MemStats
		if batch.Sequence%1000 == 1 {
			runtime.ReadMemStats(&memory)
		}
		output.Observations = append(output.Observations, detector.Observation{
			Series:     batch.Series[0],
			Time:       batch.Now,
			Kind:       salve.Point,
			Score:      1,
			Confidence: 1,
			Value:      float64(s.calls),
			Expected:   float64(ticks),
			Lower:      float64(memory.NumGC),
			Upper:      float64(memory.HeapAlloc),
			Reason:     "still here",
		})
	}
	return output, nil
}

func (s *stress) Snapshot() (*detector.State, error) { return &detector.State{}, nil }

func (s *stress) Restore(*detector.State) error { return nil }

func init() { detector.Export(create) }

func main() {}
