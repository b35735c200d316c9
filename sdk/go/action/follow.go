package action

import (
	"fmt"
	"sort"
	"strings"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/plan"
)

func perform(index int, step *plan.Step, bodies [][]byte) (*salve.Receipt, error) {
	receipt, err := plan.Perform(step, bodies)
	if err != nil {
		return nil, Failed(fmt.Sprintf("step %d, %s.%s on `%s`: %v", index, step.Capability, step.Verb, step.Target, err))
	}
	return receipt, nil
}

// ExecutePlan makes the plan's steps in their order and stops at the first that fails. bodies: what steps name by digest.
func ExecutePlan(approved *plan.Plan, bodies ...[]byte) (*Outcome, error) {
	applied, steps := 0, len(approved.Steps)
	for index := range approved.Steps {
		receipt, err := perform(index, &approved.Steps[index], bodies)
		if err != nil {
			return nil, err
		}
		if receipt.Applied {
			applied++
		}
	}
	if applied == steps {
		return Done(fmt.Sprintf("%d of %d steps made", steps, steps)), nil
	}
	return Done(fmt.Sprintf("%d of %d steps passed, %d applied", steps, steps, applied)), nil
}

// UndoReceipts makes the inverse of every applied receipt, newest first, as the plan states it. Steps without an inverse
// are left as they are; the outcome is then not done and says so. The first inverse that fails ends it: what is older
// stays as it is, since it may rest on it.
func UndoReceipts(approved *plan.Plan, receipts []salve.Receipt) (*Outcome, error) {
	var applied []salve.Receipt
	for _, receipt := range receipts {
		if receipt.Applied {
			applied = append(applied, receipt)
		}
	}
	sort.SliceStable(applied, func(a, b int) bool { return applied[a].Call > applied[b].Call })
	undone := 0
	var kept []string
	for _, receipt := range applied {
		if uint64(receipt.Step) >= uint64(len(approved.Steps)) {
			return nil, Failed(fmt.Sprintf("receipt %d names step %d, which the plan has not", receipt.Call, receipt.Step))
		}
		step := approved.Steps[receipt.Step]
		if step.Inverse == nil {
			kept = append(kept, fmt.Sprintf("%s.%s on `%s`", step.Capability, step.Verb, step.Target))
			continue
		}
		step.Arguments = *step.Inverse
		if _, err := perform(int(receipt.Step), &step, nil); err != nil {
			return nil, err
		}
		undone++
	}
	if len(kept) == 0 {
		return Done(fmt.Sprintf("%d calls taken back", undone)), nil
	}
	return NotDone(fmt.Sprintf("%d calls taken back; no way back for %s", undone, strings.Join(kept, ", "))), nil
}
