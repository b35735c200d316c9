// An action that takes a server out of an HAProxy backend: new sessions go elsewhere, those that it has may end.
//
// It speaks to the statistics page (`stats admin` in HAProxy's configuration), which is reached over HTTP; the runtime API is a
// Unix socket.
package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/action"
	"github.com/salve-healing/salve/sdk/go/clock"
	"github.com/salve-healing/salve/sdk/go/http"
	"github.com/salve-healing/salve/sdk/go/log"
	"github.com/salve-healing/salve/sdk/go/plan"
)

// How often HAProxy is asked how many sessions are left.
const askEvery = 250 * time.Millisecond

// Parameters are what a policy may say. The host has checked them against the schema in plugin.toml.
type Parameters struct {
	Backend       string `json:"backend"`
	Server        string `json:"server"`
	State         string `json:"state"`
	OthersMin     int    `json:"others_min"`
	EmptyWithinMs int    `json:"empty_within_ms"`
	Path          string `json:"path"`
}

// UnmarshalJSON sets what the policy left out.
func (p *Parameters) UnmarshalJSON(text []byte) error {
	type plain Parameters
	given := plain{State: "drain", OthersMin: 1, EmptyWithinMs: 30_000, Path: "/stats"}
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	*p = Parameters(given)
	return nil
}

// Drain is the action.
type Drain struct{}

type request = action.Request[Parameters]

// Server is one line of the statistics.
type server struct {
	name     string
	status   string
	sessions int
}

// TakesTraffic: up, or not checked at all.
func (s *server) takesTraffic() bool {
	return strings.HasPrefix(s.status, "UP") || s.status == "no check"
}

func (s *server) drains() bool { return strings.HasPrefix(s.status, "DRAIN") }

// statistics reads the servers of the backend.
func statistics(target string, asked *Parameters) ([]server, error) {
	// HAProxy's own spelling: what follows `;` chooses the form.
	answer, err := http.Get(&http.Request{Target: target, Method: "GET", Path: asked.Path + ";csv"})
	if err != nil {
		return nil, err
	}
	if answer.Status != 200 {
		return nil, fmt.Errorf("the statistics page answered with status %d", answer.Status)
	}
	lines := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(answer.Body), "# ")))
	lines.FieldsPerRecord = -1
	rows, err := lines.ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("the statistics page gives no table (is `%s` the `stats uri`?)", asked.Path)
	}
	column := map[string]int{}
	for index, name := range rows[0] {
		column[name] = index
	}
	cell := func(row []string, name string) string {
		if at, ok := column[name]; ok && at < len(row) {
			return row[at]
		}
		return ""
	}
	var servers []server
	for _, row := range rows[1:] {
		name := cell(row, "svname")
		if cell(row, "pxname") != asked.Backend || name == "FRONTEND" || name == "BACKEND" {
			continue
		}
		sessions, _ := strconv.Atoi(cell(row, "scur"))
		servers = append(servers, server{name, cell(row, "status"), sessions})
	}
	return servers, nil
}

// find gives the server, and how many others take traffic.
func find(target string, asked *Parameters) (found *server, others int, err error) {
	servers, err := statistics(target, asked)
	if err != nil {
		return nil, 0, err
	}
	for index := range servers {
		if servers[index].name == asked.Server {
			found = &servers[index]
		} else if servers[index].takesTraffic() {
			others++
		}
	}
	if found == nil {
		return nil, 0, action.NotApplicable(fmt.Sprintf("HAProxy has no server `%s` in backend `%s`", asked.Server, asked.Backend))
	}
	return found, others, nil
}

// change is the form that the statistics page has for this.
func change(target string, asked *Parameters) *http.Request {
	form := url.Values{"s": {asked.Server}, "action": {asked.State}, "b": {asked.Backend}}
	return &http.Request{
		Target:  target,
		Method:  "POST",
		Path:    asked.Path,
		Headers: []salve.Field{{Name: "content-type", Value: "application/x-www-form-urlencoded"}},
		Body:    []byte(form.Encode()),
	}
}

// Plan reads how things are and says what it would do.
func (Drain) Plan(asked *request) (*plan.Plan, error) {
	target, err := asked.Target()
	if err != nil {
		return nil, err
	}
	parameters := &asked.Parameters
	found, others, err := find(target.ID, parameters)
	if err != nil {
		return nil, err
	}
	if found.drains() == (parameters.State == "drain") {
		return nil, action.NotApplicable(fmt.Sprintf("`%s` is %s already", found.name, found.status))
	}
	if parameters.State == "drain" && others < parameters.OthersMin {
		return nil, action.NotApplicable(fmt.Sprintf("only %d others of `%s` take traffic, %d must", others, parameters.Backend, parameters.OthersMin))
	}
	summary := fmt.Sprintf("Drain server `%s` of `%s`, which has %d sessions; %d others take traffic",
		found.name, parameters.Backend, found.sessions, others)
	if parameters.State == "ready" {
		summary = fmt.Sprintf("Put server `%s` of `%s`, now %s, back to work", found.name, parameters.Backend, found.status)
	}
	return plan.New(summary, http.SendStep(change(target.ID, parameters))), nil
}

// Execute makes the change, sees that HAProxy took it, and waits until the server is empty.
func (Drain) Execute(asked *request, _ *plan.Plan) (*action.Outcome, error) {
	target, err := asked.Target()
	if err != nil {
		return nil, err
	}
	parameters := &asked.Parameters
	answer, receipt, err := http.Send(change(target.ID, parameters))
	if err != nil {
		return nil, err
	}
	// HAProxy answers by a redirect, in which it says what became of it; the page itself is for people.
	if answer.Status >= 400 {
		return nil, fmt.Errorf("the statistics page answered with status %d", answer.Status)
	}
	if !receipt.Applied {
		// A dry-run: nothing has changed, so there is nothing to see.
		return action.Done("would set it to " + parameters.State), nil
	}
	found, _, err := find(target.ID, parameters)
	if err != nil {
		return nil, err
	}
	if found.drains() != (parameters.State == "drain") {
		return nil, fmt.Errorf("HAProxy did not do it, `%s` is %s: does its configuration have `stats admin`?", found.name, found.status)
	}
	if parameters.State == "ready" {
		return action.Done(fmt.Sprintf("`%s` is %s", found.name, found.status)), nil
	}
	return empty(target.ID, parameters)
}

// empty waits for the sessions that the server still has.
func empty(target string, parameters *Parameters) (*action.Outcome, error) {
	began, left := clock.Now(), 0
	within := time.Duration(parameters.EmptyWithinMs) * time.Millisecond
	done, err := clock.Poll(within, askEvery, func() (bool, error) {
		found, _, err := find(target, parameters)
		if err != nil {
			return false, err
		}
		left = found.sessions
		return left == 0, nil
	})
	if err != nil {
		return nil, err
	}
	took := clock.Now().Sub(began).Round(time.Millisecond)
	log.Info("drained", log.Field("sessions_left", left), log.Field("took", took))
	if !done {
		return action.Done(fmt.Sprintf("`%s` gets no new sessions; %d are left", parameters.Server, left)), nil
	}
	return action.Done(fmt.Sprintf("`%s` is empty after %s", parameters.Server, took)), nil
}

func init() { action.Export[Parameters](Drain{}) }

func main() {}
