// Package notify sends messages to people. The template is the operator's; the host escapes the fields for the channel.
package notify

import (
	"encoding/json"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/internal/canonical"
	"github.com/salve-healing/salve/sdk/go/internal/host"
	"github.com/salve-healing/salve/sdk/go/plan"
)

// Send a message whose template has these fields. After [salve.TimedOut] nobody knows whether it arrived; do not repeat it.
func Send(target string, fields []salve.Field) (*salve.Receipt, error) {
	return host.NotifySend(target, fields)
}

// SendStep licenses [Send] with just these fields.
func SendStep(target string, fields []salve.Field) plan.Step {
	arguments := canonical.Fields([]byte(`{"fields":`), fields)
	return plan.Step{
		Capability: "notify",
		Verb:       "send",
		Target:     target,
		Arguments:  string(append(arguments, '}')),
	}
}

func init() {
	plan.Register("notify", func(step *plan.Step, _ [][]byte) (*salve.Receipt, error) {
		if step.Verb != "send" {
			return nil, &salve.CallError{
				Reason: salve.NotFound,
				Text:   "`notify` has no write `" + step.Verb + "`",
			}
		}
		var arguments struct {
			Fields [][2]string `json:"fields"`
		}
		if err := json.Unmarshal([]byte(step.Arguments), &arguments); err != nil {
			return nil, &salve.CallError{Reason: salve.Failed, Text: "arguments of the step: " + err.Error()}
		}
		fields := make([]salve.Field, len(arguments.Fields))
		for index, pair := range arguments.Fields {
			fields[index] = salve.Field{Name: pair[0], Value: pair[1]}
		}
		return Send(step.Target, fields)
	})
}
