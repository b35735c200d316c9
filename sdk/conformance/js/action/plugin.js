// The suite's action; `sdk/conformance/README.md` says how it behaves.

import { Failure, Plan, defineAction, executePlan, undoReceipts } from "salve-plugin";
import { act, bytes, step, write } from "../calls.js";
import * as term from "../terms.js";

/** Log and calls; then what was seen, or the failure. */
function follow({ incident, targets, started, now, parameters: { log, calls = [], failure } }) {
  write(log);
  const answers = calls.map((call) => act(call, now));
  if (failure) throw new Failure(failure.kind, failure.text);
  const request = term.record(term.text(incident), term.targets(targets), term.integer(started), term.integer(now));
  return { request, answers: term.list(answers) };
}

const outcome = ({ done = false, note = "" }) => ({ done, note });

export default defineAction({
  plan(request) {
    const { summary = "", steps = [], expect = [] } = request.parameters;
    const plan = new Plan(summary);
    for (const [name, value] of Object.entries(follow(request))) plan.extra(name, value);
    const numbers = ({ within_ms, hold_ms, ...rest }) => ({ ...rest, withinMs: Number(within_ms), holdMs: Number(hold_ms) });
    return plan.step(...steps.map(step)).expect(...expect.map(numbers));
  },
  execute(request, plan) {
    const { follow_plan, bodies = [] } = request.parameters;
    const extra = { ...follow(request), plan: term.proposal(plan) };
    return { ...(follow_plan ? executePlan(plan, bodies.map(bytes)) : outcome(request.parameters)), extra };
  },
  undo(request, plan, receipts) {
    const extra = { ...follow(request), plan: term.proposal(plan), receipts: term.list(receipts, term.receipt) };
    return { ...(request.parameters.follow_plan ? undoReceipts(plan, receipts) : outcome(request.parameters)), extra };
  },
});
