"""The suite's agent; `sdk/conformance/README.md` says how it behaves."""

import json

from salve_plugin import Agent, Evidence, Failed, Findings, Hypothesis, Suggestion, plugin
from suite import calls, terms


def symptom(value):
    return terms.record(
        terms.text(value.service),
        terms.text(value.signal),
        terms.attributes(value.attributes),
        terms.kind(value.kind),
        terms.boolean(value.rising),
        str(value.since),
        terms.double(value.score),
        terms.double(value.value),
        terms.double(value.expected),
        terms.text(value.reason),
    )


def shown(incident):
    return terms.record(
        terms.text(incident.id),
        str(incident.started),
        str(incident.now),
        terms.listed(incident.symptoms, symptom),
        terms.targets(incident.targets),
        terms.listed(
            incident.catalogue, lambda entry: terms.record(terms.text(entry.action), terms.text(entry.summary))
        ),
    )


def hypothesis(given):
    evidence = [Evidence(**sign) for sign in given.get("evidence", [])]
    return Hypothesis(
        given["suspect"], given["mechanism"], given["probability"], evidence, dict(given.get("extra", []))
    )


@plugin
class Scripted(Agent):
    def consult(self, incident, question):
        scripts = [entry.summary for entry in incident.catalogue if entry.action == "script"]
        script = json.loads(scripts[0]) if scripts else {}
        calls.write(script.get("log", []))
        answers = [calls.observe(call, incident.now) for call in script.get("calls", [])]
        if "error" in script:
            raise Failed(script["error"])
        extra = {"question": question, "incident": shown(incident), "answers": terms.listed(answers)}
        return Findings(
            [
                Hypothesis("echo", "conformance", 0, [], extra),
                *(hypothesis(given) for given in script.get("hypotheses", [])),
            ],
            [Suggestion(**given) for given in script.get("suggestions", [])],
            script.get("text", ""),
        )
