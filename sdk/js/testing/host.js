// A scripted host: the state of some targets, and what was called on them.
//
// Writes outside `execute` and `undo`, and writes that no step of the plan licenses, are refused. A refused or failed call
// changes nothing.

import { connect } from "../src/host.js";
import * as config from "../src/capability/config.js";
import * as http from "../src/capability/http.js";
import * as notify from "../src/capability/notify.js";
import * as process from "../src/capability/process.js";
import { CallError } from "../src/failure.js";
import { install } from "../src/guards.js";
import { bytesOf, decodeUtf8 } from "../src/text.js";

/** Unix nanoseconds at which a fake host's clock begins: 2026-01-01. */
export const EPOCH_NS = 1_767_225_600_000_000_000;

const running = (pid, started) => ({
  pid,
  started,
  state: "running",
  rssBytes: 50 * 2 ** 20,
  cpuSeconds: 1,
  lastExit: null,
});
const exited = () => ({
  pid: null,
  started: null,
  state: "exited",
  rssBytes: 0,
  cpuSeconds: 0,
  lastExit: "signal SIGTERM",
});

/** What the engine throws where the contract has an error. */
const thrown = (error) => Object.assign(new Error(error.message), { payload: error.toVariant() });
const notFound = (text) => thrown(new CallError("not-found", text));
/** Whether a server that answers so did nothing, as the real host sees it: it may have done it after the others. */
const refuses = (status) => status >= 400 && status < 500 && ![408, 409, 425, 429].includes(status);
const overlap = (from, to, window) => Math.min(to, window.to) - Math.max(from, window.from);

export class FakeHost {
  #now = EPOCH_NS;
  #phase = { name: "plan" };
  #dryRun = false;
  #processes = new Map();
  #starting = new Map();
  #startDelayMs = 0;
  #config = new Map();
  #answers = new Map();
  #failures = [];
  #services = [];
  #edges = [];
  #changes = [];
  #series = [];

  /** All receipts so far, oldest first. */
  receipts = [];
  /** HTTP requests that were made, reads included, oldest first. */
  requests = [];
  /** Messages that were sent: `{ target, fields }`, oldest first. */
  messages = [];
  /** What was logged: `{ level, message, fields }`, oldest first. */
  logs = [];

  /** Adds a target with a running process. */
  process(target, status = {}) {
    this.#processes.set(target, { ...running(100 + this.#processes.size, this.#now), ...status });
    return this;
  }
  /** Started processes are `exited` until this much of the clock has passed. */
  startDelayMs(delayMs) {
    this.#startDelayMs = delayMs;
    return this;
  }
  /** Adds a version of a configuration key; the last one added is in force. `good`: it proved itself. */
  config(target, key, value, good = true) {
    this.#versions(target, key).unshift({ value, since: this.#now, good });
    this.#now += 1e9;
    return this;
  }
  /** Sets the answer to HTTP calls of a path, or makes it by a function of the request; other paths answer 404. */
  answer(target, path, status, body = "", headers = []) {
    const make = typeof status === "function" ? status : () => ({ status, body, headers });
    this.#answers.set(`${target} ${path}`, make);
    return this;
  }
  /** Lets the next call of `capability.verb` fail, for instance `process.restart`. */
  failNext(call, error) {
    this.#failures.push([call, error]);
    return this;
  }
  /** Checks writes and answers with receipts that are not `applied`. */
  dryRun() {
    this.#dryRun = true;
    return this;
  }
  /** Adds what telemetry says of a service between two times. A question is answered by the entry that overlaps it most. */
  service(from, to, stats) {
    const none = { requestsPerSecond: 0, errorRatio: 0, durationMeanMs: 0, durationP95Ms: 0, lastSeen: to };
    this.#services.push({ from, to, stats: { ...none, ...stats } });
    return this;
  }
  /** Adds what telemetry says of an edge between two times. */
  edge(from, to, stats) {
    this.#edges.push({ from, to, stats: { requestsPerSecond: 0, errorRatio: 0, durationMeanMs: 0, ...stats } });
    return this;
  }
  /** Adds a change event. */
  change(change) {
    const none = { service: null, target: null, kind: "config", before: null, after: null, author: "other" };
    this.#changes.push({ ...none, ...change });
    return this;
  }
  /** Adds a series with its points `{ time, value }`, oldest first. */
  series(info, points = []) {
    const none = { id: this.#series.length, unit: "1", service: "", limit: null };
    const attributes = Object.entries(info.attributes ?? {});
    this.#series.push({ info: { ...none, ...info, attributes }, points });
    return this;
  }

  /** Unix nanoseconds. */
  get now() {
    return this.#now;
  }
  set now(now) {
    this.#now = now;
  }
  /** The value of a configuration key, or null. */
  configValue(target, key) {
    return this.#versions(target, key)[0]?.value ?? null;
  }
  /** How a target's process is. */
  processNow(target) {
    return this.#processes.get(target);
  }

  /** Runs a call with this host; `interfaces` are those of the plugin's world. */
  run(phase, interfaces, call) {
    const all = this.#interfaces();
    const before = connect(Object.fromEntries(interfaces.map((name) => [name, all[name]])));
    const restore = install({ all: false });
    this.#phase = phase;
    try {
      return call();
    } finally {
      this.#phase = { name: "plan" };
      restore();
      connect(before);
    }
  }

  /** Completes a proposal as the host does when it is made: what is true before, and the way back. */
  complete(proposal) {
    for (const step of proposal.steps) {
      if (step.capability !== "config") continue;
      const { key } = JSON.parse(step.arguments);
      const value = this.configValue(step.target, key);
      step.before = value;
      step.inverse = config.setStep(step.target, key, value).arguments;
    }
    return proposal;
  }

  #versions(target, key) {
    const name = JSON.stringify([target, key]);
    if (!this.#config.has(name)) this.#config.set(name, []);
    return this.#config.get(name);
  }

  #call(name, act) {
    const index = this.#failures.findIndex(([call]) => call === name);
    if (index >= 0) throw thrown(this.#failures.splice(index, 1)[0][1]);
    for (const [target, at] of this.#starting) {
      if (at > this.#now) continue;
      this.#starting.delete(target);
      this.#processes.set(target, running(1000 + this.receipts.length, this.#now));
    }
    return act();
  }

  /** Finds the license, lets `act` happen unless this is a dry-run, and files the receipt. */
  #write(call, act) {
    const name = `${call.capability}.${call.verb}`;
    return this.#call(name, () => {
      const same = (step, args) =>
        step.capability === call.capability &&
        step.verb === call.verb &&
        step.target === call.target &&
        args === call.arguments;
      const { name: phase, plan } = this.#phase;
      const license =
        phase === "execute"
          ? plan.steps.findIndex((step) => same(step, step.arguments))
          : phase === "undo"
            ? plan.steps.findIndex((step) => same(step, step.inverse))
            : -1;
      if (license < 0) throw thrown(new CallError("denied", `${name} ${call.arguments}`, "not-in-plan"));
      const applied = !this.#dryRun;
      const answer = applied ? act() : undefined;
      const { target, verb } = call;
      const number = this.receipts.length;
      const receipt = { call: number, step: license, target, verb, applied, before: null, after: null, extra: [] };
      this.receipts.push(receipt);
      return { receipt, answer };
    });
  }

  #answer(request) {
    this.requests.push(request);
    const make = this.#answers.get(`${request.target} ${request.path}`) ?? (() => ({ status: 404 }));
    const { status, body = "", headers = [] } = make({ ...request, text: decodeUtf8(request.body) });
    return { status, headers, body: bytesOf(typeof body === "object" && !ArrayBuffer.isView(body) ? JSON.stringify(body) : body) };
  }

  #process(target) {
    const status = this.#processes.get(target);
    if (status === undefined) throw notFound(`target \`${target}\` has no process`);
    return status;
  }

  #start(target) {
    this.#process(target);
    this.#processes.set(target, exited());
    this.#starting.set(target, this.#now + this.#startDelayMs * 1e6);
    this.#call("", () => undefined);
  }

  #best(entries, window, name) {
    const found = new Map();
    for (const { from, to, stats } of entries) {
      const shared = overlap(from, to, window);
      if (shared > (found.get(name(stats))?.shared ?? 0)) found.set(name(stats), { shared, stats });
    }
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { stats }]) => stats);
  }

  /** The contract's interfaces, as the engine gives them. */
  #interfaces() {
    const inWindow = ({ time }, { from, to }) => time >= from && time < to;
    const write = (step, act) => this.#write(step, act).receipt;
    return {
      log: { write: (level, message, fields) => void this.logs.push({ level, message, fields }) },
      clock: {
        now: () => this.#now,
        sleep: (durationMs) => {
          this.#now += durationMs * 1e6;
        },
      },
      telemetry: {
        services: (window) => this.#best(this.#services, window, ({ service }) => service),
        edges: (window) => this.#best(this.#edges, window, ({ caller, callee }) => `${caller} ${callee}`),
        changes: (window) => this.#changes.filter((change) => inWindow(change, window)).sort((a, b) => b.time - a.time),
        find: (service, prefix) =>
          this.#series
            .map(({ info }) => info)
            .filter((info) => (service === "" || info.service === service) && info.name.startsWith(prefix)),
        points: (id, window) =>
          this.#series.filter(({ info }) => info.id === id).flatMap(({ points }) => points.filter((point) => inWindow(point, window))),
      },
      process: {
        status: (target) => this.#call("process.status", () => this.#process(target)),
        start: (target) => write(process.startStep(target), () => this.#start(target)),
        stop: (target) =>
          write(process.stopStep(target), () => {
            this.#process(target);
            this.#processes.set(target, exited());
          }),
        restart: (target) => write(process.restartStep(target), () => this.#start(target)),
      },
      config: {
        get: (target, key) => this.#call("config.get", () => this.configValue(target, key)),
        history: (target, key) =>
          this.#call("config.history", () => {
            const versions = this.#versions(target, key);
            if (versions.length === 0) throw notFound(`target \`${target}\` has no key \`${key}\``);
            return [...versions];
          }),
        keys: (target) =>
          this.#call("config.keys", () =>
            [...this.#config]
              .map(([name, versions]) => [...JSON.parse(name), versions[0]?.value ?? null])
              .filter(([owner]) => owner === target)
              .map(([, key, value]) => [key, value]),
          ),
        set: (target, key, value) =>
          write(config.setStep(target, key, value), () => {
            this.#versions(target, key).unshift({ value, since: this.#now, good: false });
          }),
      },
      http: {
        get: (request) => this.#call("http.get", () => this.#answer(request)),
        send: (request) => {
          const { receipt, answer } = this.#write(http.sendStep(request), () => this.#answer(request));
          if (answer && refuses(answer.status)) {
            receipt.applied = false;
            receipt.extra.push(["refused", `the server refused it with status ${answer.status}`]);
          }
          return [answer ?? { status: 200, headers: [], body: new Uint8Array() }, receipt];
        },
      },
      notify: {
        send: (target, fields) =>
          write(notify.sendStep(target, fields), () => {
            this.messages.push({ target, fields: Object.fromEntries(fields) });
          }),
      },
    };
  }
}
