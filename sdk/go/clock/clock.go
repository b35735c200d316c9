// Package clock is time as the host gives it to agents and actions: virtual and recorded, so that a call can be replayed
// exactly. Detectors have none; they go by the time of their batches.
package clock

import (
	"time"

	"github.com/salve-healing/salve/sdk/go/internal/host"
)

// Now asks the host for the time. [time.Now] is cheaper and stands where the newest answer put it, moved by sleeps.
func Now() time.Time { return host.Now() }

// Sleep waits. The wait counts against the call's wall-clock limit, not against its CPU limit. [time.Sleep] waits as
// long, but with other goroutines going on meanwhile, and at the latest before the next call that reaches the host.
func Sleep(d time.Duration) { host.Sleep(d) }

// Poll asks probe every pause until it is done or fails, for at most timeout; done is false if it never was. probe is asked
// at least twice unless the first answer settles it.
func Poll(timeout, pause time.Duration, probe func() (done bool, err error)) (done bool, err error) {
	deadline := Now().Add(timeout)
	for {
		if done, err := probe(); done || err != nil {
			return done, err
		}
		if !Now().Before(deadline) {
			return false, nil
		}
		Sleep(max(pause, time.Millisecond))
	}
}
