// Package process acts on processes that Salve supervises. None of the writes can be undone.
package process

import (
	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/internal/host"
	"github.com/salve-healing/salve/sdk/go/plan"
)

// Status is how a process is.
type Status = host.ProcessStatus

// StatusOf the target's process; [salve.NotFound] if the target has none.
func StatusOf(target string) (*Status, error) { return host.ProcessStatusOf(target) }

// Start the process.
func Start(target string) (*salve.Receipt, error) { return host.ProcessStart(target) }

// Stop ends the process and leaves it ended.
func Stop(target string) (*salve.Receipt, error) { return host.ProcessStop(target) }

// Restart ends the process (SIGTERM, then SIGKILL after the unit's grace time) and starts it again.
func Restart(target string) (*salve.Receipt, error) { return host.ProcessRestart(target) }

// StartStep licenses [Start].
func StartStep(target string) plan.Step { return step("start", target) }

// StopStep licenses [Stop].
func StopStep(target string) plan.Step { return step("stop", target) }

// RestartStep licenses [Restart].
func RestartStep(target string) plan.Step { return step("restart", target) }

func step(verb, target string) plan.Step {
	return plan.Step{Capability: "process", Verb: verb, Target: target, Arguments: "{}"}
}

func init() {
	plan.Register("process", func(step *plan.Step, _ [][]byte) (*salve.Receipt, error) {
		switch step.Verb {
		case "start":
			return Start(step.Target)
		case "stop":
			return Stop(step.Target)
		case "restart":
			return Restart(step.Target)
		default:
			return nil, &salve.CallError{
				Reason: salve.NotFound,
				Text:   "`process` has no verb `" + step.Verb + "`",
			}
		}
	})
}
