// The SDK by itself, natively: `node --test`.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as sdk from "../src/index.js";
import { ActionTest, AgentTest, DetectorTest, FakeHost } from "../testing/index.js";

const { CallError, Failure, Plan, Reader, SeriesTable, Writer, config, defineAction, defineDetector, http, notify, process } = sdk;

// Guarantees: digests are those of SHA-256, also where padding needs another block.
test("sha256", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 7) & 255);
    assert.equal(sdk.bodySha256(bytes), createHash("sha256").update(bytes).digest("hex"), `${length} bytes`);
  }
});

// Guarantees: text helpers agree with the platform's, on broken input too.
test("text", () => {
  for (const text of ["", "plain", "üöß€😀𐍈", "a\ud800b", "\udc00"]) {
    assert.deepEqual(sdk.encodeUtf8(text), new TextEncoder().encode(text));
    assert.equal(sdk.toBase64(text), Buffer.from(text).toString("base64"));
    assert.deepEqual(sdk.fromBase64(sdk.toBase64(text)), new TextEncoder().encode(text));
  }
  let state = 1;
  const next = () => (state = (state * 48271) % 2147483647);
  for (let round = 0; round < 3000; round++) {
    // Bytes that are likely to begin or break a sequence.
    const of = [0x41, 0x80, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xa0, 0xed, 0x9f, 0xef, 0xbb, 0xf0, 0x90, 0xf4, 0x8f, 0xf5, 0xff];
    const bytes = Uint8Array.from({ length: next() % 9 }, () => of[next() % of.length]);
    assert.equal(sdk.decodeUtf8(bytes), new TextDecoder().decode(bytes), bytes.join(" "));
  }
  assert.throws(() => sdk.decodeUtf8(Uint8Array.of(0xff), { fatal: true }), /not UTF-8/);
  assert.equal(sdk.encodeQuery({ "a b": "ü&=", c: "1" }), "a%20b=%C3%BC%26%3D&c=1");
  assert.equal(sdk.encodePathSegment("a/b(1)'"), "a%2Fb%281%29%27");
  assert.throws(() => sdk.fromBase64("a*"), /not of base64/);
});

// Guarantees: arguments of steps are JSON with sorted keys, no spaces, and no escapes but those that JSON demands.
test("steps are canonical", () => {
  assert.equal(config.setStep("t", 'k"\n\u0001\u007fü', null).arguments, '{"key":"k\\"\\n\\u0001\u007fü","value":null}');
  assert.equal(process.restartStep({ id: "t" }).arguments, "{}");
  const step = http.sendStep({ target: "t", method: "POST", path: "/x", query: { b: 1, a: 2 }, json: { z: 1, a: [true] }, idempotencyKey: "k" });
  assert.equal(
    step.arguments,
    `{"body-sha256":"${sdk.bodySha256('{"a":[true],"z":1}')}","headers":[["content-type","application/json"]],"idempotency-key":"k","method":"POST","path":"/x","query":[["b","1"],["a","2"]]}`,
  );
});

const everything = defineAction({
  plan({ target }) {
    return new Plan("Everything")
      .step(config.setStep(target, "a", 1), config.setStep(target, "b", 2))
      .step(process.stopStep(target), process.startStep(target))
      .step(http.sendStep({ target, method: "POST", path: "/drain", body: "drain" }))
      .step(notify.sendStep(target, { text: "done" }))
      .expect({ signal: "x", upper: 0.5 })
      .extra("note", "all");
  },
  execute: (request, plan) => sdk.executePlan(plan, ["drain"]),
});
const shop = () => new FakeHost().process("shop").config("shop", "a", "0").config("shop", "b", "0").answer("shop", "/drain", 200);

// Scenario: six steps of four capabilities. Guarantees: all are made, in order; what can be taken back is, the newest first.
test("executes in order and undoes in reverse", () => {
  const run = new ActionTest(everything, { host: shop(), targets: ["shop"] });
  const plan = run.plan();
  assert.equal(run.execute(plan).note, "6 of 6 steps made");
  assert.deepEqual(run.host.receipts.map(({ step }) => step), [0, 1, 2, 3, 4, 5]);
  const outcome = run.undo(plan);
  assert.equal(outcome.done, false);
  assert.equal(
    outcome.note,
    "2 calls taken back; no way back for notify.send on `shop`, http.send on `shop`, process.start on `shop`, process.stop on `shop`",
  );
  assert.deepEqual(run.host.receipts.slice(6).map(({ step }) => step), [1, 0]);
  assert.equal(run.host.configValue("shop", "a"), "0");
});

// Scenario: a step fails; a dry-run. Guarantees: nothing after it is made and the reason is said; nothing is written.
test("failures and dry-run", () => {
  const failing = new ActionTest(everything, {
    host: shop().failNext("process.stop", new CallError("denied", null, "kill-switch")),
    targets: ["shop"],
  });
  const plan = failing.plan();
  assert.throws(() => failing.execute(plan), { kind: "failed", message: "step 2, process.stop on `shop`: Salve is paused" });
  assert.equal(failing.host.receipts.length, 2);

  const dry = new ActionTest(everything, { host: shop().dryRun(), targets: ["shop"] });
  assert.equal(dry.execute(dry.plan()).note, "6 of 6 steps passed, 0 applied");
  assert.deepEqual(dry.host.messages, []);
});

// Scenario: an action that writes while it plans. Guarantees: refused, as by the real host; the reason reaches the author.
test("the scripted host keeps the rules", () => {
  const liar = defineAction({
    plan({ target }) {
      assert.throws(() => config.set(target, "a", 9), { kind: "denied", denied: "not-in-plan" });
      return new Plan("Set").step(config.setStep(target, "a", 1));
    },
    execute: ({ target }) => config.set(target, "a", 2),
  });
  const run = new ActionTest(liar, { host: shop(), targets: ["shop"] });
  const plan = run.plan();
  assert.throws(() => run.execute(plan), { kind: "failed", message: 'not in the approved plan (config.set {"key":"a","value":"2"})' });
  assert.equal(run.host.configValue("shop", "a"), "0");
  assert.throws(() => new ActionTest(liar).plan(), { kind: "not-applicable", message: "the request names no target" });
});

// Scenario: what programs expect of JavaScript. Guarantees: time and random numbers are the host's; the rest says what to use.
test("what does not exist says what to use", () => {
  const probe = defineAction({
    plan() {
      const seen = [Date.now(), new Date().toISOString(), Date.UTC(2026), new Date(5) instanceof Date, Math.random()];
      for (const [use, message] of [
        [() => setTimeout(() => {}, 1), /clock\.sleep/],
        [() => fetch("http://x"), /http\.get/],
      ]) {
        assert.throws(use, { name: "Unsupported", message });
      }
      return new Plan("Looked").extra("seen", JSON.stringify(seen));
    },
  });
  const seen = () => JSON.parse(new ActionTest(probe).plan().extra[0][1]);
  const [now, iso, utc, isDate, random] = seen();
  assert.deepEqual([now, iso, utc, isDate], [1767225600000, "2026-01-01T00:00:00.000Z", 1767225600000, true]);
  assert.ok(random > 0 && random < 1);
  assert.equal(seen()[4], random, "equal calls see equal numbers");

  const timeless = defineDetector(
    class {
      observe() {
        Date.now();
      }
    },
  );
  const run = new DetectorTest(timeless);
  assert.throws(() => run.push(), { name: "Unsupported", message: /`Date\.now\(\)` does not exist in a plugin; use `clock\.now\(\)`, or in a detector `batch\.now`/ });
  assert.match(run.host.logs[0].message, /^observe: Unsupported: `Date\.now\(\)`/);
});

// Scenario: values that the contract cannot carry. Guarantees: an error with the path of the value; the engine would only trap.
test("wrong values are named", () => {
  const plan = (made) => () => new ActionTest(defineAction({ plan: () => made })).plan();
  assert.throws(plan(undefined), /what `plan` returns must be an object, it is undefined/);
  assert.throws(plan(Promise.resolve()), /leave out `async`/);
  assert.throws(plan({ summary: 5 }), /the plan's summary must be a text, it is 5/);
  assert.throws(plan(new Plan("x").expect({ signal: "x", withinMs: 0.5 })), /expect\[0\]\.withinMs must be a whole number from 0, it is 0\.5/);
  assert.throws(plan(new Plan("x").step({ capability: "config" })), /steps\[0\]\.verb must be a text, it is undefined/);
  assert.throws(() => config.set("t", "k", 1), /without a host; in tests/);
});

// Guarantees: numbers and texts come back as they were written, also where the writer grows; what is cut off is refused.
test("snapshots", () => {
  for (const length of [0, 1, 250, 255, 256, 257, 5000]) {
    const text = "ü".repeat(length);
    const bytes = new Writer().u8(7).text(text).u32(4294967295).u64(2n ** 64n - 1n).f64(-0.5).bytes();
    const reader = new Reader(bytes);
    assert.deepEqual([reader.u8(), reader.text(), reader.u32(), reader.u64(), reader.f64()], [7, text, 4294967295, 2n ** 64n - 1n, -0.5]);
    assert.equal(reader.remaining, 0);
    const cut = new Reader(bytes.slice(0, -1));
    assert.throws(() => [cut.u8(), cut.text(), cut.u32(), cut.u64(), cut.f64()], { message: "the snapshot ends too early" });
  }
  assert.throws(() => new Reader(new Writer().f64(NaN).bytes()).finite(), { message: /not finite/ });
});

class Mean {
  #table = new SeriesTable();
  constructor({ most = 10 } = {}) {
    if (most < 0) throw Failure.invalid("`most` is negative");
    this.most = most;
  }
  observe(batch) {
    this.#table.update(batch, () => ({ count: 0, sum: 0 }));
    const observations = [];
    for (const { series, from, to } of sdk.bySeries(batch)) {
      const state = this.#table.get(series);
      for (let at = from; at < to; at++) {
        const value = batch.values[at];
        const expected = state.count > 0 ? state.sum / state.count : value;
        if (Math.abs(value - expected) > this.most) {
          observations.push({ series, time: batch.times[at], kind: "point", rising: value > expected, score: 1, confidence: 1, value, expected, lower: 0, upper: 0, reason: "far" });
        }
        state.count++;
        state.sum += value;
      }
    }
    return { observations };
  }
  snapshot() {
    const writer = new Writer();
    this.#table.write(writer, (to, { count, sum }) => to.u64(count).f64(sum));
    return { format: 1, bytes: writer.bytes() };
  }
  restore({ format, bytes }) {
    if (format !== 1) throw Failure.invalid(`layout ${format} is not known`);
    this.#table.read(new Reader(bytes), (from) => ({ count: Number(from.u64()), sum: from.finite() }));
  }
}

// Scenario: a restart after which the host numbers the series anew. Guarantees: each finds its own state; broken bytes are refused.
test("detector state survives a restart", () => {
  const run = new DetectorTest(defineDetector(Mean), { parameters: { most: 5 } });
  const other = new DetectorTest(defineDetector(Mean));
  const [a, b] = [run.add("a", { x: "1" }), run.add("b")];
  for (let i = 0; i < 5; i++) assert.deepEqual(run.push([[a, 100], [b, 0]]), []);
  const state = run.snapshot();
  assert.equal(other.snapshot().bytes.length, 0);
  run.restartFrom(state);
  const [seen] = run.push([[a, 100], [b, 50]]);
  assert.deepEqual([seen.series, seen.value, seen.expected], [b, 50, 0]);
  assert.throws(() => run.restartFrom({ format: 2, bytes: state.bytes }), { message: "layout 2 is not known" });
  assert.throws(() => run.restartFrom({ format: 1, bytes: state.bytes.slice(0, 9) }), { message: "the snapshot ends too early" });
  assert.throws(() => new DetectorTest(defineDetector(Mean), { parameters: { most: -1 } }), { message: "`most` is negative" });
});

// Guarantees: an agent sees telemetry and the incident; its suggestions carry parameters as JSON; it has no capability.
test("agents", () => {
  const agent = sdk.defineAgent({
    consult({ symptoms, now, targets }) {
      const [stats] = sdk.telemetry.services(sdk.telemetry.window(now - 1e9, now));
      assert.throws(() => config.get("t", "k"), /has no `config`/);
      return {
        hypotheses: [{ suspect: stats.service, mechanism: "errors", probability: stats.errorRatio, evidence: [{ text: symptoms[0].reason }] }],
        suggestions: [{ action: "restart", target: targets[0], parameters: { pause: 1 } }],
      };
    },
  });
  const host = new FakeHost();
  host.service(host.now - 2e9, host.now, { service: "shop", errorRatio: 0.5 });
  const { hypotheses, suggestions } = new AgentTest(agent, host).cause({ symptoms: [{ service: "shop", signal: "x", reason: "up" }], targets: ["shop"] });
  assert.equal(hypotheses[0].probability, 0.5);
  assert.deepEqual(suggestions[0], { action: "restart", target: "shop", parameters: '{"pause":1}', reason: "" });
});
