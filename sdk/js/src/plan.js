// Plans: what an action will do, as steps that each license one call.
//
// A step's `arguments` are canonical JSON: keys sorted, no spaces, bodies as lower-case SHA-256. The host compares them
// byte by byte with the call that is made, so they are written here and nowhere else.

import { sha256 } from "./sha256.js";
import { bytesOf, pairs, toHex } from "./text.js";

/** Lower-case hex SHA-256, as steps name bodies. */
export const bodySha256 = (body) => toHex(sha256(bytesOf(body)));

/** JSON with the keys of every object sorted. */
export const canonicalJson = (value) => JSON.stringify(sorted(value));

function sorted(value) {
  if (typeof value === "string") return value.toWellFormed();
  if (value === null || typeof value !== "object") return value;
  if (typeof value.toJSON === "function") return sorted(value.toJSON());
  if (Array.isArray(value)) return value.map(sorted);
  // Without a prototype every key is one, `__proto__` too.
  const result = { __proto__: null };
  const keys = Object.keys(value).sort();
  for (let at = 0; at < keys.length; at++) result[keys[at]] = sorted(value[keys[at]]);
  return result;
}

/** A step that licenses one call. Prefer the functions that know their arguments, such as `process.restartStep`. */
export const step = (capability, verb, target, args) => written(capability, verb, target, canonicalJson(args));

/** The same, of arguments that are canonical JSON. */
export const written = (capability, verb, target, json) => ({
  capability,
  verb,
  target: idOf(target),
  arguments: json,
  before: null,
  after: null,
  inverse: null,
});

/** The id of a target or of its id. */
export function idOf(target) {
  const id = typeof target === "string" ? target : target?.id;
  if (typeof id !== "string") throw new TypeError("a target is the request's target or its id");
  return id.toWellFormed();
}

/** Builds a proposal. */
export class Plan {
  constructor(summary) {
    this.summary = summary;
    this.steps = [];
    this.expectations = [];
    this.extra_ = [];
  }
  /** Adds steps, to be made after those before them. */
  step(...steps) {
    this.steps.push(...steps);
    return this;
  }
  /** Adds what the telemetry must show afterwards, besides the incident's own symptoms clearing. */
  expect(...expectations) {
    this.expectations.push(...expectations.map(expectation));
    return this;
  }
  /** Adds a detail by name, for people and for `execute`. */
  extra(name, value) {
    this.extra_.push([name, value]);
    return this;
  }
  /** As the contract has it. */
  toProposal() {
    return { summary: this.summary, steps: this.steps, expect: this.expectations, extra: pairs(this.extra_) };
  }
}

/** An expectation as the contract has it, from parameters in snake_case or camelCase; the rest by default. */
export const expectation = (given) => ({
  service: given.service ?? "",
  signal: given.signal,
  lower: given.lower ?? null,
  upper: given.upper ?? null,
  withinMs: given.withinMs ?? given.within_ms ?? 60_000,
  holdMs: given.holdMs ?? given.hold_ms ?? 5_000,
  samplesMin: given.samplesMin ?? given.samples_min ?? 3,
});
