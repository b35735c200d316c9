// The suite's agent; sdk/conformance/README.md says how it behaves.
package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"conformance/common"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/agent"
)

type scripted struct{}

type script struct {
	Log        []common.Line `json:"log"`
	Calls      []common.Call `json:"calls"`
	Error      *string       `json:"error"`
	Hypotheses []struct {
		Suspect     string           `json:"suspect"`
		Mechanism   string           `json:"mechanism"`
		Probability float64          `json:"probability"`
		Evidence    []agent.Evidence `json:"evidence"`
		Extra       common.Pairs     `json:"extra"`
	} `json:"hypotheses"`
	Suggestions []agent.Suggestion `json:"suggestions"`
	Text        string             `json:"text"`
}

func symptom(symptom agent.Symptom) string {
	return common.Record(common.Text(symptom.Service), common.Text(symptom.Signal), common.Attributes(symptom.Attributes),
		symptom.Kind.String(), common.Bool(symptom.Rising), common.Time(symptom.Since), common.Float(float64(symptom.Score)),
		common.Float(symptom.Value), common.Float(symptom.Expected), common.Text(symptom.Reason))
}

func entry(entry agent.CatalogueEntry) string {
	return common.Record(common.Text(entry.Action), common.Text(entry.Summary))
}

func (scripted) Consult(incident *agent.Incident, question string) (*agent.Findings, error) {
	var script script
	for _, entry := range incident.Catalogue {
		if entry.Action == "script" {
			if err := json.Unmarshal([]byte(entry.Summary), &script); err != nil {
				return nil, err
			}
			break
		}
	}
	common.Log(script.Log)
	answers := make([]string, len(script.Calls))
	for index := range script.Calls {
		term, ok := common.Observe(&script.Calls[index], incident.Now)
		if !ok {
			return nil, fmt.Errorf("no call %q", script.Calls[index].Call)
		}
		answers[index] = term
	}
	if script.Error != nil {
		return nil, errors.New(*script.Error)
	}
	findings := &agent.Findings{
		Hypotheses: []agent.Hypothesis{{
			Suspect:   "echo",
			Mechanism: "conformance",
			Extra: salve.Attributes{
				"question": question,
				"incident": common.Record(common.Text(incident.ID), common.Time(incident.Started), common.Time(incident.Now),
					common.Each(incident.Symptoms, symptom), common.Each(incident.Targets, common.Target),
					common.Each(incident.Catalogue, entry)),
				"answers": common.List(answers),
			},
		}},
		Suggestions: script.Suggestions,
		Text:        script.Text,
	}
	for _, supposed := range script.Hypotheses {
		findings.Hypotheses = append(findings.Hypotheses, agent.Hypothesis{
			Suspect:     supposed.Suspect,
			Mechanism:   supposed.Mechanism,
			Probability: supposed.Probability,
			Evidence:    supposed.Evidence,
			Extra:       supposed.Extra.Attributes(),
		})
	}
	return findings, nil
}

func init() { agent.Export(scripted{}) }

func main() {}
