// Agents: find causes and give advice. Nothing in their world changes anything. Each call gets a fresh instance.

import { asText, run } from "./call.js";
import * as check from "./check.js";
import { seed } from "./guards.js";
import * as received from "./received.js";

const incidentOf = (raw) => ({
  ...raw,
  started: received.u64(raw.started),
  now: received.u64(raw.now),
  symptoms: raw.symptoms.map(received.symptom),
  targets: raw.targets.map(received.target),
});

const evidence = (given, path) => ({
  text: check.text(given?.text, path, "text"),
  reference: check.text(given.reference ?? "", path, "reference"),
  weight: check.number(given.weight ?? 0, path, "weight"),
});

const hypothesis = (given, path) => ({
  suspect: check.text(given?.suspect, path, "suspect"),
  mechanism: check.text(given.mechanism, path, "mechanism"),
  probability: check.number(given.probability, path, "probability"),
  evidence: check.list(given.evidence ?? [], `${path}.evidence`, evidence),
  extra: check.attributes(given.extra, path, "extra"),
});

const suggestion = (given, path) => ({
  action: check.text(given?.action, path, "action"),
  target: check.text(given.target?.id ?? given.target, path, "target"),
  parameters:
    typeof given.parameters === "string" ? check.text(given.parameters, path) : JSON.stringify(given.parameters ?? {}),
  reason: check.text(given.reason ?? "", path, "reason"),
});

function findings(given) {
  const { hypotheses, suggestions, text, extra } = check.record(given, "what `consult` returns");
  return {
    hypotheses: check.list(hypotheses ?? [], "hypotheses", hypothesis),
    suggestions: check.list(suggestions ?? [], "suggestions", suggestion),
    text: check.text(text ?? "", "text"),
    extra: check.attributes(extra, "extra"),
  };
}

/** Makes an agent of `consult(incident, question)`. */
export function defineAgent({ consult }) {
  if (typeof consult !== "function") throw new TypeError("an agent needs a function `consult`");
  const consulted = (incident, question) => {
    seed(`${incident.id} ${incident.now}`);
    return findings(consult(incidentOf(incident), question));
  };
  return {
    role: "agent",
    consult: { consult: (incident, question) => run("consult", asText, consulted, incident, question) },
  };
}
