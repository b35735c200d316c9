// The work of `plugins/restart-process`.
package main

import (
	"fmt"
	"strings"

	"github.com/salve-healing/salve/sdk/go/action"
	"github.com/salve-healing/salve/sdk/go/plan"
	"github.com/salve-healing/salve/sdk/go/process"
)

type restart struct{}

// Plan proposes one restart for each target.
func (restart) Plan(asked *action.Request[struct{}]) (*plan.Plan, error) {
	var states []string
	var steps []plan.Step
	for _, target := range asked.Targets {
		status, err := process.StatusOf(target.ID)
		if err != nil {
			return nil, err
		}
		pid := ""
		if status.PID != nil {
			pid = fmt.Sprintf(", pid %d", *status.PID)
		}
		states = append(states, fmt.Sprintf("`%s` (%s%s)", target.ID, status.State, pid))
		steps = append(steps, process.RestartStep(target.ID))
	}
	return plan.New("Restart "+strings.Join(states, ", "), steps...), nil
}

func init() { action.Export[struct{}](restart{}) }

func main() {}
