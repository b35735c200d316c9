// The suite's agent; `sdk/conformance/README.md` says how it behaves.

import { Failure, defineAgent } from "salve-plugin";
import { observe, write } from "../calls.js";
import * as term from "../terms.js";

const symptom = ({ service, signal, attributes, kind, rising, since, score, value, expected, reason }) =>
  term.record(
    term.text(service),
    term.text(signal),
    term.attributes(attributes),
    kind,
    rising,
    term.integer(since),
    term.double(score),
    term.double(value),
    term.double(expected),
    term.text(reason),
  );

const shown = ({ id, started, now, symptoms, targets, catalogue }) =>
  term.record(
    term.text(id),
    term.integer(started),
    term.integer(now),
    term.list(symptoms, symptom),
    term.targets(targets),
    term.list(catalogue, ({ action, summary }) => term.record(term.text(action), term.text(summary))),
  );

export default defineAgent({
  consult(incident, question) {
    const entry = incident.catalogue.find(({ action }) => action === "script");
    const { log, calls = [], error, hypotheses = [], suggestions, text } = JSON.parse(entry?.summary ?? "{}");
    write(log);
    const answers = calls.map((call) => observe(call, incident.now));
    if (error !== undefined) throw Failure.failed(error);
    const extra = { question, incident: shown(incident), answers: term.list(answers) };
    return {
      hypotheses: [{ suspect: "echo", mechanism: "conformance", probability: 0, extra }, ...hypotheses],
      suggestions,
      text,
    };
  },
});
