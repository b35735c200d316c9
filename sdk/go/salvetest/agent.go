package salvetest

import "github.com/salve-healing/salve/sdk/go/agent"

// Cause asks an agent for the cause of an incident, over the host's telemetry.
func Cause(host *Host, tested agent.Agent, incident *agent.Incident) (*agent.Findings, error) {
	got := run(host, planning, nil, func() answer[*agent.Findings] {
		findings, err := tested.Consult(incident, "cause")
		return answer[*agent.Findings]{findings, err}
	})
	return got.value, got.err
}
