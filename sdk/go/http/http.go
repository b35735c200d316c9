// Package http calls targets over HTTP. The target has scheme, host and port; the grant has methods, paths, headers and
// secrets.
package http

import (
	"encoding/json"
	"strconv"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/internal/canonical"
	"github.com/salve-healing/salve/sdk/go/internal/host"
	"github.com/salve-healing/salve/sdk/go/plan"
)

// Request to a target.
type Request = host.Request

// Response of a target.
type Response = host.Response

// Get makes a GET or HEAD. A status of 400 and above is an answer, not an error.
func Get(request *Request) (*Response, error) { return host.HTTPGet(request) }

// Send makes a call of any other method. A status of 400 and above is an answer, not an error.
func Send(request *Request) (*Response, *salve.Receipt, error) { return host.HTTPSend(request) }

// SendStep licenses [Send] with just this request; its body by digest.
func SendStep(request *Request) plan.Step {
	arguments := canonical.String([]byte(`{"body-sha256":`), plan.BodySHA256(request.Body))
	arguments = canonical.Fields(append(arguments, `,"headers":`...), request.Headers)
	arguments = canonical.Optional(append(arguments, `,"idempotency-key":`...), request.IdempotencyKey)
	arguments = canonical.String(append(arguments, `,"method":`...), request.Method)
	arguments = canonical.String(append(arguments, `,"path":`...), request.Path)
	arguments = canonical.Fields(append(arguments, `,"query":`...), request.Query)
	return plan.Step{
		Capability: "http",
		Verb:       "send",
		Target:     request.Target,
		Arguments:  string(append(arguments, '}')),
	}
}

func perform(step *plan.Step, bodies [][]byte) (*salve.Receipt, error) {
	if step.Verb != "send" {
		return nil, &salve.CallError{Reason: salve.NotFound, Text: "`http` has no write `" + step.Verb + "`"}
	}
	var arguments struct {
		BodySHA256     string      `json:"body-sha256"`
		Headers        [][2]string `json:"headers"`
		IdempotencyKey *string     `json:"idempotency-key"`
		Method         string      `json:"method"`
		Path           string      `json:"path"`
		Query          [][2]string `json:"query"`
	}
	if err := json.Unmarshal([]byte(step.Arguments), &arguments); err != nil {
		return nil, &salve.CallError{Reason: salve.Failed, Text: "arguments of the step: " + err.Error()}
	}
	body, found := []byte(nil), plan.BodySHA256(nil) == arguments.BodySHA256
	for index := 0; !found && index < len(bodies); index++ {
		body, found = bodies[index], plan.BodySHA256(bodies[index]) == arguments.BodySHA256
	}
	if !found {
		return nil, &salve.CallError{
			Reason: salve.NotFound,
			Text:   "no body has the digest " + arguments.BodySHA256,
		}
	}
	response, receipt, err := Send(&Request{
		Target:         step.Target,
		Method:         arguments.Method,
		Path:           arguments.Path,
		Query:          fields(arguments.Query),
		Headers:        fields(arguments.Headers),
		Body:           body,
		IdempotencyKey: arguments.IdempotencyKey,
	})
	if err == nil && response.Status >= 400 {
		err = &salve.CallError{
			Reason: salve.Failed,
			Text:   "the answer was status " + strconv.Itoa(int(response.Status)),
		}
	}
	return receipt, err
}

func fields(pairs [][2]string) []salve.Field {
	fields := make([]salve.Field, len(pairs))
	for index, pair := range pairs {
		fields[index] = salve.Field{Name: pair[0], Value: pair[1]}
	}
	return fields
}

func init() { plan.Register("http", perform) }
