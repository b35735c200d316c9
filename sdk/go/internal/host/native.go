//go:build !wasip1

package host

import (
	"sync"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
)

// Fake is the host that a test installs.
type Fake interface {
	Log(level Level, message string, fields []salve.Field)
	Now() time.Time
	Sleep(time.Duration)
	Services(from, to time.Time) []ServiceStats
	Edges(from, to time.Time) []EdgeStats
	Changes(from, to time.Time) []Change
	Find(service, namePrefix string) []SeriesInfo
	Points(series uint32, from, to time.Time) []Measurement
	ProcessStatus(target string) (*ProcessStatus, error)
	ProcessWrite(verb, target string) (*salve.Receipt, error)
	ConfigGet(target, key string) (*string, error)
	ConfigHistory(target, key string) ([]Version, error)
	ConfigKeys(target string) ([]Key, error)
	ConfigSet(target, key string, value *string) (*salve.Receipt, error)
	HTTPGet(request *Request) (*Response, error)
	HTTPSend(request *Request) (*Response, *salve.Receipt, error)
	NotifySend(target string, fields []salve.Field) (*salve.Receipt, error)
}

var (
	// One call of a plugin at a time, as one instance has: tests that run in parallel wait for each other here.
	running   sync.Mutex
	installed Fake
)

// Run makes a call while fake is the host.
func Run[T any](fake Fake, call func() T) T {
	running.Lock()
	installed = fake
	defer func() {
		installed = nil
		running.Unlock()
	}()
	return call()
}

func missing(call string) error {
	return &salve.CallError{
		Reason: salve.Failed,
		Text:   "`" + call + "` was called natively without a host; run the plugin through the package salvetest",
	}
}

// Log writes a line.
func Log(level Level, message string, fields []salve.Field) {
	if installed != nil {
		installed.Log(level, message, fields)
	}
}

// Now is the host's time; 1970 without a host.
func Now() time.Time {
	if installed == nil {
		return time.Unix(0, 0).UTC()
	}
	return installed.Now()
}

// Sleep waits.
func Sleep(d time.Duration) {
	if installed != nil {
		installed.Sleep(d)
	}
}

// Services is telemetry.services.
func Services(from, to time.Time) []ServiceStats {
	if installed == nil {
		return nil
	}
	return installed.Services(from, to)
}

// Edges is telemetry.edges.
func Edges(from, to time.Time) []EdgeStats {
	if installed == nil {
		return nil
	}
	return installed.Edges(from, to)
}

// Changes is telemetry.changes.
func Changes(from, to time.Time) []Change {
	if installed == nil {
		return nil
	}
	return installed.Changes(from, to)
}

// Find is telemetry.find.
func Find(service, namePrefix string) []SeriesInfo {
	if installed == nil {
		return nil
	}
	return installed.Find(service, namePrefix)
}

// Points is telemetry.points.
func Points(series uint32, from, to time.Time) []Measurement {
	if installed == nil {
		return nil
	}
	return installed.Points(series, from, to)
}

// ProcessStatus is process.status.
func ProcessStatusOf(target string) (*ProcessStatus, error) {
	if installed == nil {
		return nil, missing("process.status")
	}
	return installed.ProcessStatus(target)
}

// ProcessStart is process.start.
func ProcessStart(target string) (*salve.Receipt, error) { return processWrite("start", target) }

// ProcessStop is process.stop.
func ProcessStop(target string) (*salve.Receipt, error) { return processWrite("stop", target) }

// ProcessRestart is process.restart.
func ProcessRestart(target string) (*salve.Receipt, error) { return processWrite("restart", target) }

func processWrite(verb, target string) (*salve.Receipt, error) {
	if installed == nil {
		return nil, missing("process." + verb)
	}
	return installed.ProcessWrite(verb, target)
}

// ConfigGet is config.get.
func ConfigGet(target, key string) (*string, error) {
	if installed == nil {
		return nil, missing("config.get")
	}
	return installed.ConfigGet(target, key)
}

// ConfigHistory is config.history.
func ConfigHistory(target, key string) ([]Version, error) {
	if installed == nil {
		return nil, missing("config.history")
	}
	return installed.ConfigHistory(target, key)
}

// ConfigKeys is config.keys.
func ConfigKeys(target string) ([]Key, error) {
	if installed == nil {
		return nil, missing("config.keys")
	}
	return installed.ConfigKeys(target)
}

// ConfigSet is config.set.
func ConfigSet(target, key string, value *string) (*salve.Receipt, error) {
	if installed == nil {
		return nil, missing("config.set")
	}
	return installed.ConfigSet(target, key, value)
}

// HTTPGet is http.get.
func HTTPGet(request *Request) (*Response, error) {
	if installed == nil {
		return nil, missing("http.get")
	}
	return installed.HTTPGet(request)
}

// HTTPSend is http.send.
func HTTPSend(request *Request) (*Response, *salve.Receipt, error) {
	if installed == nil {
		return nil, nil, missing("http.send")
	}
	return installed.HTTPSend(request)
}

// NotifySend is notify.send.
func NotifySend(target string, fields []salve.Field) (*salve.Receipt, error) {
	if installed == nil {
		return nil, missing("notify.send")
	}
	return installed.NotifySend(target, fields)
}
