package agent

import (
	"unsafe"

	salve "github.com/salve-healing/salve/sdk/go"
	"github.com/salve-healing/salve/sdk/go/internal/host"
)

var exported Agent

// Export makes the plugin an agent. Call it from init.
func Export(agent Agent) {
	exported = agent
	host.Ready()
}

type symptomRecord struct {
	service, signal host.Text
	attributes      host.Pairs
	kind            uint8
	rising          bool
	since           uint64
	score           float32
	value, expected float64
	reason          host.Text
}

type catalogueRecord struct{ action, summary host.Text }

type evidenceRecord struct {
	text, reference host.Text
	weight          float64
}

type hypothesisRecord struct {
	suspect, mechanism host.Text
	probability        float64
	evidence           host.List[evidenceRecord]
	extra              host.Pairs
}

type suggestionRecord struct{ action, target, parameters, reason host.Text }

type findingsRecord struct {
	hypotheses  host.List[hypothesisRecord]
	suggestions host.List[suggestionRecord]
	text        host.Text
	extra       host.Pairs
}

func liftSymptom(record *symptomRecord) Symptom {
	return Symptom{
		Service:    record.service.String(),
		Signal:     record.signal.String(),
		Attributes: host.LiftAttributes(record.attributes),
		Kind:       salve.Kind(record.kind),
		Rising:     record.rising,
		Since:      host.Time(record.since),
		Score:      record.score,
		Value:      record.value,
		Expected:   record.expected,
		Reason:     record.reason.String(),
	}
}

func lowerHypothesis(hypothesis *Hypothesis) hypothesisRecord {
	return hypothesisRecord{
		suspect:     host.LowerText(hypothesis.Suspect),
		mechanism:   host.LowerText(hypothesis.Mechanism),
		probability: hypothesis.Probability,
		evidence: host.Lower(hypothesis.Evidence, func(evidence *Evidence) evidenceRecord {
			return evidenceRecord{host.LowerText(evidence.Text), host.LowerText(evidence.Reference), evidence.Weight}
		}),
		extra: host.LowerAttributes(hypothesis.Extra),
	}
}

func lowerFindings(findings *Findings) findingsRecord {
	return findingsRecord{
		hypotheses: host.Lower(findings.Hypotheses, lowerHypothesis),
		suggestions: host.Lower(findings.Suggestions, func(suggestion *Suggestion) suggestionRecord {
			return suggestionRecord{
				action:     host.LowerText(suggestion.Action),
				target:     host.LowerText(suggestion.Target),
				parameters: host.LowerText(suggestion.Parameters),
				reason:     host.LowerText(suggestion.Reason),
			}
		}),
		text:  host.LowerText(findings.Text),
		extra: host.LowerAttributes(findings.Extra),
	}
}

//go:wasmexport salve:plugin/consult@0.1.0#consult
func exportConsult(
	id, idLength uint32, started, now uint64,
	symptoms, symptomsLength, targets, targetsLength, catalogue, catalogueLength, question, questionLength uint32,
) unsafe.Pointer {
	defer host.BeginAt(now)()
	if exported == nil {
		panic("no agent: call agent.Export from init")
	}
	incident := &Incident{
		ID:       host.TextAt(id, idLength).String(),
		Started:  host.Time(started),
		Now:      host.Time(now),
		Symptoms: host.Lift(host.ListAt[symptomRecord](symptoms, symptomsLength), liftSymptom),
		Targets:  host.Lift(host.ListAt[host.TargetRecord](targets, targetsLength), host.LiftTarget),
		Catalogue: host.Lift(host.ListAt[catalogueRecord](catalogue, catalogueLength),
			func(record *catalogueRecord) CatalogueEntry {
				return CatalogueEntry{record.action.String(), record.summary.String()}
			}),
	}
	findings, err := exported.Consult(incident, host.TextAt(question, questionLength).String())
	if err == nil && findings == nil {
		findings = &Findings{}
	}
	return host.Finish(findings, err, lowerFindings)
}
