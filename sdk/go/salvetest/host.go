// Package salvetest runs plugins natively against a scripted host, which keeps the rules of the real one: writes that the plan
// does not license are refused, a dry-run writes nothing, an undo may only make the plan's inverses.
//
//	host := salvetest.NewHost().Config("checkout", "pool.size", "16")
//	test := salvetest.NewAction[Parameters](host, SetConfig{}, `{"value": 32}`, "checkout")
//	approved, err := test.Plan()
//	outcome, err := test.Execute(approved)
package salvetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/config"
	"github.com/salve-healing/salve/sdk/go/http"
	"github.com/salve-healing/salve/sdk/go/internal/host"
	"github.com/salve-healing/salve/sdk/go/notify"
	"github.com/salve-healing/salve/sdk/go/plan"
	"github.com/salve-healing/salve/sdk/go/process"
	"github.com/salve-healing/salve/sdk/go/telemetry"
)

// Epoch is where a host's clock begins.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type phase uint8

const (
	planning phase = iota
	executing
	undoing
)

type place struct{ target, name string }

type windowed[T any] struct {
	from, to time.Time
	value    T
}

// LogLine is a line that the plugin wrote.
type LogLine struct {
	Level   string
	Message string
	Fields  []salve.Field
}

// Message is one that was sent.
type Message struct {
	Target string
	Fields []salve.Field
}

// Host is a scripted host: the state of some targets, and what was called on them. Its methods without a verb set it up and
// give it back, so that they chain.
type Host struct {
	// HandleHTTP answers HTTP calls that Answer has no answer to, if it is set; else they answer 404. A test may pass them to a
	// real server here.
	HandleHTTP func(*http.Request) *http.Response

	clock      time.Time
	phase      phase
	approved   *plan.Plan
	dryRun     bool
	startDelay time.Duration
	starting   map[string]time.Time
	processes  map[string]*process.Status
	config     map[place][]config.Version
	answers    map[place]*http.Response
	failures   map[string][]error
	requests   []http.Request
	messages   []Message
	receipts   []salve.Receipt
	logs       []LogLine
	services   []windowed[telemetry.ServiceStats]
	edges      []windowed[telemetry.EdgeStats]
	changes    []telemetry.Change
	series     []telemetry.SeriesInfo
	points     map[uint32][]telemetry.Measurement
}

var _ host.Fake = fake{}

// NewHost is a host without any target.
func NewHost() *Host {
	return &Host{
		clock:     Epoch,
		starting:  map[string]time.Time{},
		processes: map[string]*process.Status{},
		config:    map[place][]config.Version{},
		answers:   map[place]*http.Response{},
		failures:  map[string][]error{},
		points:    map[uint32][]telemetry.Measurement{},
	}
}

// Process adds a target with a running process.
func (h *Host) Process(target string) *Host {
	h.processes[target] = running(100+uint32(len(h.processes)), h.clock)
	return h
}

// ProcessStatus sets how a target's process is.
func (h *Host) ProcessStatus(target string, status process.Status) *Host {
	h.processes[target] = &status
	return h
}

// StartDelay: started processes are exited until this much of the clock has passed.
func (h *Host) StartDelay(delay time.Duration) *Host {
	h.startDelay = delay
	return h
}

// Config adds a version of a key that proved itself; the last one added is in force.
func (h *Host) Config(target, key, value string) *Host {
	return h.ConfigVersion(target, key, config.Version{Value: &value, Since: h.clock, Good: true})
}

// ConfigVersion adds a version of a key; the last one added is in force.
func (h *Host) ConfigVersion(target, key string, version config.Version) *Host {
	at := place{target, key}
	h.config[at] = slices.Insert(h.config[at], 0, version)
	h.clock = h.clock.Add(time.Second)
	return h
}

// Answer sets the answer to HTTP calls of a path.
func (h *Host) Answer(target, path string, status uint16, body string) *Host {
	h.answers[place{target, path}] = &http.Response{Status: status, Body: []byte(body)}
	return h
}

// FailNext lets the next call of "capability.verb" fail, for instance "process.restart".
func (h *Host) FailNext(call string, err error) *Host {
	h.failures[call] = append(h.failures[call], err)
	return h
}

// DryRun checks writes and answers with receipts that are not applied.
func (h *Host) DryRun() *Host {
	h.dryRun = true
	return h
}

// Service adds what telemetry says of a service between two times. A question about a window is answered by the entry that
// overlaps it most.
func (h *Host) Service(from, to time.Time, stats telemetry.ServiceStats) *Host {
	h.services = append(h.services, windowed[telemetry.ServiceStats]{from, to, stats})
	return h
}

// Edge adds what telemetry says of an edge between two times.
func (h *Host) Edge(from, to time.Time, stats telemetry.EdgeStats) *Host {
	h.edges = append(h.edges, windowed[telemetry.EdgeStats]{from, to, stats})
	return h
}

// Change adds a change event.
func (h *Host) Change(change telemetry.Change) *Host {
	h.changes = append(h.changes, change)
	return h
}

// Series adds a series with its points, oldest first.
func (h *Host) Series(info telemetry.SeriesInfo, points ...telemetry.Measurement) *Host {
	h.series = append(h.series, info)
	h.points[info.ID] = points
	return h
}

// Now is the host's time.
func (h *Host) Now() time.Time { return h.clock }

// Receipts so far, oldest first.
func (h *Host) Receipts() []salve.Receipt { return slices.Clone(h.receipts) }

// ConfigValue is the value of a key; ok is false if it is absent.
func (h *Host) ConfigValue(target, key string) (value string, ok bool) {
	versions := h.config[place{target, key}]
	if len(versions) == 0 || versions[0].Value == nil {
		return "", false
	}
	return *versions[0].Value, true
}

// ProcessNow is how a target's process is; nil if it has none.
func (h *Host) ProcessNow(target string) *process.Status { return h.processes[target] }

// Requests that were made over HTTP, reads included, oldest first.
func (h *Host) Requests() []http.Request { return slices.Clone(h.requests) }

// Messages that were sent, oldest first.
func (h *Host) Messages() []Message { return slices.Clone(h.messages) }

// Logs that were written, oldest first.
func (h *Host) Logs() []LogLine { return slices.Clone(h.logs) }

// run makes a call of the plugin.
func run[T any](h *Host, phase phase, approved *plan.Plan, call func() T) T {
	h.phase, h.approved = phase, approved
	defer func() { h.phase, h.approved = planning, nil }()
	return host.Run(fake{h}, call)
}

// complete fills in what the host does: what is true before, and the way back.
func (h *Host) complete(proposal *plan.Plan) {
	for index := range proposal.Steps {
		step := &proposal.Steps[index]
		var arguments struct {
			Key string `json:"key"`
		}
		if step.Capability != "config" || json.Unmarshal([]byte(step.Arguments), &arguments) != nil {
			continue
		}
		inverse := config.RemoveStep(step.Target, arguments.Key)
		if value, ok := h.ConfigValue(step.Target, arguments.Key); ok {
			inverse = config.SetStep(step.Target, arguments.Key, value)
			step.Before = &value
		}
		step.Inverse = &inverse.Arguments
	}
}

// fake is the host as the plugin sees it.
type fake struct{ *Host }

func (f fake) failure(call string) error {
	if waiting := f.failures[call]; len(waiting) > 0 {
		f.failures[call] = waiting[1:]
		return waiting[0]
	}
	f.settle()
	return nil
}

// settle lets processes run whose start delay has passed.
func (f fake) settle() {
	for target, at := range f.starting {
		if !at.After(f.clock) {
			delete(f.starting, target)
			f.processes[target] = running(1000+uint32(len(f.receipts)), f.clock)
		}
	}
}

// write finds the license, lets act happen unless this is a dry-run, and files the receipt.
func (f fake) write(call plan.Step, act func() error) (*salve.Receipt, error) {
	name := call.Capability + "." + call.Verb
	if err := f.failure(name); err != nil {
		return nil, err
	}
	license := -1
	if f.phase != planning {
		license = slices.IndexFunc(f.approved.Steps, func(step plan.Step) bool {
			arguments := &step.Arguments
			if f.phase == undoing {
				arguments = step.Inverse
			}
			return step.Capability == call.Capability && step.Verb == call.Verb && step.Target == call.Target &&
				arguments != nil && *arguments == call.Arguments
		})
	}
	if license < 0 {
		return nil, &salve.CallError{Reason: salve.NotInPlan, Text: name + " " + call.Arguments}
	}
	if !f.dryRun {
		if err := act(); err != nil {
			return nil, err
		}
	}
	receipt := salve.Receipt{
		Call:    uint64(len(f.receipts)),
		Step:    uint32(license),
		Target:  call.Target,
		Verb:    call.Verb,
		Applied: !f.dryRun,
	}
	f.receipts = append(f.receipts, receipt)
	return &receipt, nil
}

func running(pid uint32, started time.Time) *process.Status {
	return &process.Status{PID: &pid, Started: &started, State: "running", RSSBytes: 50 << 20, CPUSeconds: 1}
}

func exited() *process.Status {
	reason := "signal SIGTERM"
	return &process.Status{State: "exited", LastExit: &reason}
}

func (f fake) Log(level host.Level, message string, fields []salve.Field) {
	name := [...]string{"debug", "info", "warn", "error"}[level]
	f.logs = append(f.logs, LogLine{name, message, fields})
}

func (f fake) Sleep(d time.Duration) { f.clock = f.clock.Add(max(d, 0)) }

func (f fake) ProcessStatus(target string) (*process.Status, error) {
	if err := f.failure("process.status"); err != nil {
		return nil, err
	}
	status, ok := f.processes[target]
	if !ok {
		return nil, &salve.CallError{Reason: salve.NotFound, Text: "target `" + target + "` has no process"}
	}
	copied := *status
	return &copied, nil
}

func (f fake) ProcessWrite(verb, target string) (*salve.Receipt, error) {
	call := plan.Step{Capability: "process", Verb: verb, Target: target, Arguments: "{}"}
	return f.write(call, func() error {
		if _, ok := f.processes[target]; !ok {
			return &salve.CallError{Reason: salve.NotFound, Text: "target `" + target + "` has no process"}
		}
		f.processes[target] = exited()
		if verb != "stop" {
			f.starting[target] = f.clock.Add(f.startDelay)
			f.settle()
		}
		return nil
	})
}

func (f fake) ConfigGet(target, key string) (*string, error) {
	if err := f.failure("config.get"); err != nil {
		return nil, err
	}
	if value, ok := f.ConfigValue(target, key); ok {
		return &value, nil
	}
	return nil, nil
}

func (f fake) ConfigHistory(target, key string) ([]config.Version, error) {
	if err := f.failure("config.history"); err != nil {
		return nil, err
	}
	versions, ok := f.config[place{target, key}]
	if !ok {
		return nil, &salve.CallError{
			Reason: salve.NotFound,
			Text:   "target `" + target + "` has no key `" + key + "`",
		}
	}
	return slices.Clone(versions), nil
}

func (f fake) ConfigKeys(target string) ([]config.Key, error) {
	if err := f.failure("config.keys"); err != nil {
		return nil, err
	}
	var keys []config.Key
	for at, versions := range f.config {
		if at.target == target {
			keys = append(keys, config.Key{Name: at.name, Value: versions[0].Value})
		}
	}
	slices.SortFunc(keys, func(a, b config.Key) int { return strings.Compare(a.Name, b.Name) })
	return keys, nil
}

func (f fake) ConfigSet(target, key string, value *string) (*salve.Receipt, error) {
	step := config.RemoveStep(target, key)
	if value != nil {
		step = config.SetStep(target, key, *value)
	}
	return f.write(step, func() error {
		at := place{target, key}
		f.config[at] = slices.Insert(f.config[at], 0, config.Version{Value: value, Since: f.clock})
		return nil
	})
}

func (f fake) answer(request *http.Request) *http.Response {
	f.requests = append(f.requests, *request)
	if answer, ok := f.answers[place{request.Target, request.Path}]; ok {
		return answer
	}
	if f.HandleHTTP != nil {
		return f.HandleHTTP(request)
	}
	return &http.Response{Status: 404}
}

func (f fake) HTTPGet(request *http.Request) (*http.Response, error) {
	if err := f.failure("http.get"); err != nil {
		return nil, err
	}
	return f.answer(request), nil
}

func (f fake) HTTPSend(request *http.Request) (*http.Response, *salve.Receipt, error) {
	response := &http.Response{Status: 200}
	receipt, err := f.write(http.SendStep(request), func() error {
		response = f.answer(request)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if refuses(response.Status) {
		receipt.Applied = false
		receipt.Extra = salve.Attributes{"refused": fmt.Sprintf("the server refused it with status %d", response.Status)}
		f.receipts[len(f.receipts)-1] = *receipt
	}
	return response, receipt, nil
}

// refuses says whether a server that answers so did nothing, as the real host sees it: it may have done it after the others.
func refuses(status uint16) bool {
	return status >= 400 && status < 500 && !slices.Contains([]uint16{408, 409, 425, 429}, status)
}

func (f fake) NotifySend(target string, fields []salve.Field) (*salve.Receipt, error) {
	return f.write(notify.SendStep(target, fields), func() error {
		f.messages = append(f.messages, Message{target, slices.Clone(fields)})
		return nil
	})
}

// best gives of the entries of one name the one that overlaps the window most, by name.
func best[T any](entries []windowed[T], from, to time.Time, name func(T) string) []T {
	type candidate struct {
		overlap time.Duration
		value   T
	}
	found := map[string]candidate{}
	for _, entry := range entries {
		begin, end := entry.from, entry.to
		if from.After(begin) {
			begin = from
		}
		if to.Before(end) {
			end = to
		}
		key := name(entry.value)
		if overlap := end.Sub(begin); overlap > found[key].overlap {
			found[key] = candidate{overlap, entry.value}
		}
	}
	var values []T
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if found[key].overlap > 0 {
			values = append(values, found[key].value)
		}
	}
	return values
}

func within(t, from, to time.Time) bool { return !t.Before(from) && t.Before(to) }

func (f fake) Services(from, to time.Time) []telemetry.ServiceStats {
	return best(f.services, from, to, func(stats telemetry.ServiceStats) string { return stats.Service })
}

func (f fake) Edges(from, to time.Time) []telemetry.EdgeStats {
	return best(f.edges, from, to, func(stats telemetry.EdgeStats) string { return stats.Caller + "\x00" + stats.Callee })
}

func (f fake) Changes(from, to time.Time) []telemetry.Change {
	var changes []telemetry.Change
	for _, change := range f.changes {
		if within(change.Time, from, to) {
			changes = append(changes, change)
		}
	}
	slices.SortStableFunc(changes, func(a, b telemetry.Change) int { return b.Time.Compare(a.Time) })
	return changes
}

func (f fake) Find(service, namePrefix string) []telemetry.SeriesInfo {
	var found []telemetry.SeriesInfo
	for _, info := range f.series {
		if (service == "" || info.Service == service) && strings.HasPrefix(info.Name, namePrefix) {
			found = append(found, info)
		}
	}
	slices.SortFunc(found, func(a, b telemetry.SeriesInfo) int { return cmp.Compare(a.ID, b.ID) })
	return found
}

func (f fake) Points(series uint32, from, to time.Time) []telemetry.Measurement {
	var points []telemetry.Measurement
	for _, point := range f.points[series] {
		if within(point.Time, from, to) {
			points = append(points, point)
		}
	}
	return points
}
