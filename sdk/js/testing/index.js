// Native tests of plugins, by `node --test`: a scripted host that keeps the rules of the real one.
//
// - `ActionTest` plans, executes and undoes an action. A write that the plan does not license is refused, as it would be.
// - `DetectorTest` feeds a detector points, a second apart, and gives back what it observed.
// - `AgentTest` asks an agent about an incident over scripted telemetry.

import { CallError, Failure } from "../src/failure.js";
import { EPOCH_NS, FakeHost } from "./host.js";

export { EPOCH_NS, FakeHost };

const BASE = ["log", "clock", "telemetry"];
const ALL = [...BASE, "process", "config", "http", "notify"];

/** What a plugin throws in the contract's form, as an author knows it. */
function call(host, phase, interfaces, body) {
  try {
    return host.run(phase, interfaces, body);
  } catch (error) {
    if (typeof error === "string") throw new Failure("failed", error);
    if (error instanceof Error || error instanceof CallError) throw error;
    throw new Failure(error.tag, error.val);
  }
}

const target = (given) =>
  typeof given === "string"
    ? { id: given, attributes: [["service.name", given]] }
    : { id: given.id, attributes: Object.entries(given.attributes ?? {}) };

function check(plugin, role) {
  if (plugin?.role !== role) throw new TypeError(`this is no plugin of role ${role}`);
  return plugin;
}

/** One request to an action, and the host that it runs on. */
export class ActionTest {
  #act;
  #request;
  constructor(action, { host = new FakeHost(), parameters = {}, targets = [], incident = "inc-1" } = {}) {
    this.#act = check(action, "action").act;
    this.host = host;
    this.#request = {
      incident,
      targets: targets.map(target),
      parameters: JSON.stringify(parameters),
      started: host.now - 5e9,
      now: host.now,
    };
  }
  /** Asks for a plan and completes it as the host does. */
  plan() {
    return this.host.complete(call(this.host, { name: "plan" }, ALL, () => this.#act.plan(this.#request)));
  }
  /** Executes an approved plan. */
  execute(plan) {
    return call(this.host, { name: "execute", plan }, ALL, () => this.#act.execute(this.#request, plan));
  }
  /** Undoes what the host has receipts for. */
  undo(plan) {
    const receipts = [...this.host.receipts];
    return call(this.host, { name: "undo", plan }, ALL, () => this.#act.undo(this.#request, plan, receipts));
  }
}

/** An agent and the host that it asks. */
export class AgentTest {
  #consult;
  constructor(agent, host = new FakeHost()) {
    this.#consult = check(agent, "agent").consult;
    this.host = host;
  }
  /** Asks for the cause. */
  cause({ symptoms = [], targets = [], catalogue = [], ...incident } = {}) {
    const now = this.host.now;
    const symptom = { kind: "point", rising: true, since: now, score: 1, value: 1, expected: 0, reason: "" };
    const raw = {
      id: "inc-1",
      started: now - 5e9,
      now,
      ...incident,
      symptoms: symptoms.map((given) => ({ ...symptom, ...given, attributes: Object.entries(given.attributes ?? {}) })),
      targets: targets.map(target),
      catalogue,
    };
    return call(this.host, { name: "plan" }, BASE, () => this.#consult.consult(raw, "cause"));
  }
}

/** A detector instance and the batches that it is sent. */
export class DetectorTest {
  #detect;
  #parameters;
  #series = [];
  #added = [];
  #removed = [];
  #sequence = 0;
  /** The host's time of the next batch, Unix nanoseconds. */
  now = EPOCH_NS;
  constructor(detector, { parameters = {}, stepMs = 1000 } = {}) {
    this.#detect = check(detector, "detector").fresh();
    this.#parameters = JSON.stringify(parameters);
    this.host = new FakeHost();
    this.stepMs = stepMs;
    this.#call(() => this.#detect.configure(this.#parameters));
  }
  #call(body) {
    return call(this.host, { name: "plan" }, ["log"], body);
  }
  /** Adds a series with the next batch and gives its id. */
  add(name, attributes = {}, { limit = null, unit = "1", group = 0 } = {}) {
    const id = this.#series.length;
    const series = { id, name, unit, group, limit, attributes: Object.entries(attributes) };
    this.#series.push(series);
    this.#added.push(series);
    return id;
  }
  /** Removes a series with the next batch. */
  remove(id) {
    this.#removed.push(id);
  }
  /** Sends one point for each of these series (`[[id, value], …]`), and gives back what was observed. */
  push(points = []) {
    return this.pushColumns(points.map(([series, value]) => ({ series, value }))).observations;
  }
  /** Sends points `{ series, time, value, flags }`, those of one series side by side; gives back the whole output. */
  pushColumns(points, { scores = false } = {}) {
    const batch = {
      sequence: this.#sequence++,
      now: this.now,
      added: this.#added,
      removed: this.#removed,
      series: [],
      offsets: [0],
      times: [],
      values: [],
      pointFlags: new Uint8Array(points.map(({ flags = 0 }) => flags)),
      scores,
    };
    for (const { series, time = this.now, value } of points) {
      if (batch.series.at(-1) !== series) {
        batch.series.push(series);
        batch.offsets.push(batch.values.length);
      }
      batch.times.push(time);
      batch.values.push(value);
      batch.offsets[batch.offsets.length - 1] = batch.values.length;
    }
    this.#added = [];
    this.#removed = [];
    this.now += this.stepMs * 1e6;
    return this.#call(() => this.#detect.observe(batch));
  }
  /** The instance's snapshot: `{ format, bytes }`. */
  snapshot() {
    return this.#call(() => this.#detect.snapshot());
  }
  /** A fresh instance that takes over the snapshot, as after a restart: the next batch adds all series again, in reverse. */
  restartFrom(state) {
    this.#call(() => this.#detect.configure(this.#parameters));
    this.#call(() => this.#detect.restore(state));
    this.#added = [...this.#series].reverse();
  }
}
