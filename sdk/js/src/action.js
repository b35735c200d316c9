// Actions: plan writes, make the approved ones, take them back. Each call gets a fresh instance.

import { asVariant, parameters, run } from "./call.js";
import * as config from "./capability/config.js";
import * as http from "./capability/http.js";
import * as notify from "./capability/notify.js";
import * as process from "./capability/process.js";
import * as check from "./check.js";
import { CallError, Failure } from "./failure.js";
import { seed } from "./guards.js";
import * as received from "./received.js";

const CAPABILITIES = { config, http, notify, process };

/** What a policy asks of an action. */
class Request {
  constructor({ incident, targets, parameters: json, started, now }) {
    this.incident = incident;
    this.targets = targets.map(received.target);
    this.parameters = parameters(json);
    this.started = received.u64(started);
    this.now = received.u64(now);
  }
  /** The first target. */
  get target() {
    if (this.targets.length === 0) throw Failure.notApplicable("the request names no target");
    return this.targets[0];
  }
}

const step = (given, path) => ({
  capability: check.text(given?.capability, path, "capability"),
  verb: check.text(given.verb, path, "verb"),
  target: check.text(given.target, path, "target"),
  arguments: check.text(given.arguments, path, "arguments"),
  before: check.optionalText(given.before, path, "before"),
  after: check.optionalText(given.after, path, "after"),
  inverse: check.optionalText(given.inverse, path, "inverse"),
});

const expectation = (given, path) => ({
  service: check.text(given?.service, path, "service"),
  signal: check.text(given.signal, path, "signal"),
  lower: check.optionalNumber(given.lower, path, "lower"),
  upper: check.optionalNumber(given.upper, path, "upper"),
  withinMs: check.whole(given.withinMs, path, "withinMs"),
  holdMs: check.whole(given.holdMs, path, "holdMs"),
  samplesMin: check.whole32(given.samplesMin, path, "samplesMin"),
});

function proposal(given) {
  const record = check.record(given, "what `plan` returns");
  const { summary, steps, expect, extra } = typeof record.toProposal === "function" ? record.toProposal() : record;
  return {
    summary: check.text(summary, "the plan's summary"),
    steps: check.list(steps, "steps", step),
    expect: check.list(expect ?? [], "expect", expectation),
    extra: check.attributes(extra, "extra"),
  };
}

function outcome(given, call) {
  const { done, note, extra } = check.record(given, `what \`${call}\` returns`);
  return { done: check.boolean(done, "done"), note: check.text(note ?? "", "note"), extra: check.attributes(extra, "extra") };
}

/** The action did what it planned. Nobody takes its word for the heal: the telemetry decides. */
export const done = (note = "", extra = {}) => ({ done: true, note, extra });
/** It ended without doing all of it. */
export const notDone = (note = "", extra = {}) => ({ done: false, note, extra });

function perform(index, step, bodies) {
  const { capability, verb, target } = step;
  if (!Object.hasOwn(CAPABILITIES, capability)) {
    throw Failure.failed(`step ${index}: the SDK has no capability \`${capability}\``);
  }
  try {
    return CAPABILITIES[capability].perform(step, bodies);
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    throw Failure.failed(`step ${index}, ${capability}.${verb} on \`${target}\`: ${error.message}`);
  }
}

/** Makes the plan's steps in order and stops at the first that fails. `bodies`: what steps name by digest. */
export function executePlan(plan, bodies = []) {
  let applied = 0;
  plan.steps.forEach((step, index) => {
    if (perform(index, step, bodies).applied) applied++;
  });
  const count = plan.steps.length;
  return done(applied === count ? `${count} of ${count} steps made` : `${count} of ${count} steps passed, ${applied} applied`);
}

/** Makes the inverse of every applied receipt, newest first, as the plan states it; what has none stays, and is named. */
export function undoReceipts(plan, receipts) {
  const newestFirst = receipts.filter(({ applied }) => applied).sort((a, b) => b.call - a.call);
  let undone = 0;
  const kept = [];
  for (const { call, step: index } of newestFirst) {
    const step = plan.steps[index];
    if (step === undefined) throw Failure.failed(`receipt ${call} names step ${index}, which the plan has not`);
    if (step.inverse === null || step.inverse === undefined) {
      kept.push(`${step.capability}.${step.verb} on \`${step.target}\``);
      continue;
    }
    perform(index, { ...step, arguments: step.inverse }, []);
    undone++;
  }
  return kept.length === 0
    ? done(`${undone} calls taken back`)
    : notDone(`${undone} calls taken back; no way back for ${kept.join(", ")}`);
}

/** Makes an action of `plan`, and `execute` and `undo` if doing what the plan says is not enough. */
export function defineAction({ plan, execute, undo }) {
  if (typeof plan !== "function") throw new TypeError("an action needs a function `plan`");
  const begun = (raw) => {
    seed(`${raw.incident} ${raw.now}`);
    return new Request(raw);
  };
  const planned = (raw) => proposal(plan(begun(raw)));
  const executed = (raw, rawPlan) => {
    const request = begun(raw);
    const plan = received.proposal(rawPlan);
    return outcome(execute ? execute(request, plan) : executePlan(plan), "execute");
  };
  const undone = (raw, rawPlan, rawReceipts) => {
    const request = begun(raw);
    const plan = received.proposal(rawPlan);
    const receipts = rawReceipts.map(received.receipt);
    return outcome(undo ? undo(request, plan, receipts) : undoReceipts(plan, receipts), "undo");
  };
  return {
    role: "action",
    act: {
      plan: (raw) => run("plan", asVariant, planned, raw),
      execute: (raw, plan) => run("execute", asVariant, executed, raw, plan),
      undo: (raw, plan, receipts) => run("undo", asVariant, undone, raw, plan, receipts),
    },
  };
}
