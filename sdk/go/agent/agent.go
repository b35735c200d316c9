// Package agent makes a plugin an agent: it finds causes and gives advice. Nothing in its world changes anything.
//
//	func init() { agent.Export(Analyst{}) }
//
//	func main() {}
package agent

import (
	"time"

	salve "github.com/salve-healing/salve/sdk/go"
)

// Agent answers questions about incidents. Each call gets a fresh instance, so there is nothing to remember.
type Agent interface {
	// Consult answers; question is "cause" in this version. An error says why there is no answer. To have found nothing is
	// an answer, not an error.
	Consult(incident *Incident, question string) (*Findings, error)
}

// Symptom is one abnormal series of the incident.
type Symptom struct {
	// Service it belongs to.
	Service string
	// Signal is the series' name.
	Signal string
	// Attributes of the series.
	Attributes salve.Attributes
	// Kind: the way in which it is abnormal.
	Kind salve.Kind
	// Rising: above rather than below what was expected.
	Rising bool
	// Since when.
	Since time.Time
	// Score is how abnormal, 0 to 1.
	Score float32
	// Value that was measured.
	Value float64
	// Expected value.
	Expected float64
	// Reason is the detector's sentence.
	Reason string
}

// CatalogueEntry is an action that a policy may choose.
type CatalogueEntry struct {
	// Action is its name.
	Action string
	// Summary is one sentence.
	Summary string
}

// Incident is what is wrong.
type Incident struct {
	// ID of the incident.
	ID string
	// Started is when the first symptom began.
	Started time.Time
	// Now is when the host asked.
	Now time.Time
	// Symptoms, oldest first.
	Symptoms []Symptom
	// Targets that can be acted on.
	Targets []salve.Target
	// Catalogue of actions, for suggestions.
	Catalogue []CatalogueEntry
}

// Evidence is a sentence and what it rests on.
type Evidence struct {
	// Text is one sentence for a person.
	Text string
	// Reference is the series name, edge or change it rests on.
	Reference string
	// Weight is how much it counts, in nats; negative speaks against.
	Weight float64
}

// Hypothesis is one possible cause.
type Hypothesis struct {
	// Suspect is a service's name.
	Suspect string
	// Mechanism is one word of absent, unresponsive, errors, slow, saturation, config-change, overload, unknown, or your own.
	Mechanism string
	// Probability is 0 to 1; over all hypotheses at most 1, the rest being "none of these".
	Probability float64
	// Evidence for and against.
	Evidence []Evidence
	// Extra has details by name, for policies.
	Extra salve.Attributes
}

// Suggestion is an action the agent would take. Policies decide.
type Suggestion struct {
	// Action is its name.
	Action string
	// Target is what it would be done to.
	Target string
	// Parameters as JSON.
	Parameters string
	// Reason for a person.
	Reason string
}

// Findings are what an agent found.
type Findings struct {
	// Hypotheses, most probable first.
	Hypotheses []Hypothesis
	// Suggestions for policies.
	Suggestions []Suggestion
	// Text for people; never parsed.
	Text string
	// Extra has details by name.
	Extra salve.Attributes
}
