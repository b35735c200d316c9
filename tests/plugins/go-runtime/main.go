// An action for tests of Go's runtime inside of Salve. Its plan says what it saw.
package main

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"sync"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/action"
	"github.com/salve-healing/salve/sdk/go/clock"
	"github.com/salve-healing/salve/sdk/go/plan"
)

type parameters struct {
	SleepMs int    `json:"sleep_ms"`
	Panic   string `json:"panic"`
}

type runtime struct{}

// What the start did, which ran when the plugin was built.
var (
	startedAt     = time.Now()
	startedRandom = mathrand.Uint64()
	startedWith   = make(map[string]int)
	calls         int
)

func (runtime) Plan(request *action.Request[parameters]) (*plan.Plan, error) {
	if request.Parameters.Panic != "" {
		panic(request.Parameters.Panic)
	}
	calls++
	sinceStart := time.Since(startedAt)
	began, onHost := time.Now(), clock.Now()
	var sleeping sync.WaitGroup
	for range 10 {
		sleeping.Add(1)
		go func() {
			defer sleeping.Done()
			time.Sleep(time.Duration(request.Parameters.SleepMs) * time.Millisecond)
		}()
	}
	sleeping.Wait()
	slept := time.Since(began)
	// This call reaches the host, so the host has waited by now.
	waited := clock.Now().Sub(onHost)
	var secret [8]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, err
	}
	_, noFile := os.ReadFile("/etc/hostname")
	return &plan.Plan{Summary: "seen", Extra: salve.Attributes{
		"slept_ms":    fmt.Sprint(slept.Milliseconds()),
		"waited_ms":   fmt.Sprint(waited.Milliseconds()),
		"apart_ms":    fmt.Sprint(began.Sub(request.Now).Abs().Milliseconds()),
		"random":      fmt.Sprintf("%x %d", secret, mathrand.Uint64()),
		"start":       fmt.Sprint(startedRandom, len(startedWith), sinceStart >= time.Hour && sinceStart < time.Hour+time.Second),
		"calls":       fmt.Sprint(calls),
		"file":        fmt.Sprint(noFile != nil),
		"environment": fmt.Sprint(len(os.Environ()) + len(os.Args)),
	}}, nil
}

func init() {
	action.Export[parameters](runtime{})
	answer := make(chan int)
	go func() {
		time.Sleep(time.Hour)
		answer <- 1
	}()
	startedWith["goroutine"] = <-answer
}

func main() {}
