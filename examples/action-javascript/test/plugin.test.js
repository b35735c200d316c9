// `node --test`; needs neither WebAssembly nor a running Salve.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CallError } from "salve-plugin";
import { ActionTest, FakeHost } from "salve-plugin/testing";
import action from "../src/plugin.js";

const KEY = "/api/tickets/salve-inc-1-checkout";

/** A tracker with the tickets that it was given, by path. */
function tracker() {
  const host = new FakeHost();
  const open = new Map();
  host.answer("tracker", "/api/tickets", ({ text, idempotencyKey }) => {
    const ticket = JSON.parse(text);
    if (!open.has(ticket.external_id)) open.set(ticket.external_id, { ...ticket, state: "open", idempotencyKey });
    return { status: 201, body: ticket };
  });
  host.answer("tracker", KEY, () => {
    const ticket = open.get("salve-inc-1-checkout");
    return ticket ? { status: 200, body: ticket } : { status: 404 };
  });
  host.answer("tracker", `${KEY}/close`, () => {
    open.get("salve-inc-1-checkout").state = "closed";
    return { status: 200 };
  });
  return { host, open };
}

const run = (host, parameters = {}) =>
  new ActionTest(action, { host, targets: ["checkout"], parameters: { tracker: "tracker", ...parameters } });

// Scenario: open, try again, undo, open again. Guarantees: one ticket while it is open; undo closes it, then one may be opened.
test("one ticket for an incident, which undo closes", () => {
  const { host, open } = tracker();
  const first = run(host, { close_on_undo: true });
  const plan = first.plan();
  assert.equal(plan.summary, "Open a ticket for checkout in tracker");
  assert.equal(first.execute(plan).note, "1 of 1 steps made");
  assert.deepEqual(open.get("salve-inc-1-checkout"), {
    external_id: "salve-inc-1-checkout",
    title: "checkout needs a look",
    description: "Salve sees an incident on checkout since 2025-12-31T23:59:55.000Z (incident inc-1).",
    state: "open",
    idempotencyKey: "salve-inc-1-checkout",
  });
  assert.throws(() => run(host).plan(), { kind: "not-applicable", message: `the ticket ${KEY} is open already` });
  assert.equal(first.undo(plan).note, "1 calls taken back");
  assert.equal(open.get("salve-inc-1-checkout").state, "closed");
  assert.equal(run(host).plan().steps.length, 1);
});

// Guarantees: without `close_on_undo` the plan states no way back, and undo says what stays.
test("without a way back undo says so", () => {
  const { host } = tracker();
  const opened = run(host);
  const plan = opened.plan();
  opened.execute(plan);
  const outcome = opened.undo(plan);
  assert.deepEqual([outcome.done, outcome.note], [false, "0 calls taken back; no way back for http.send on `tracker`"]);
});

// Scenario: an own template, and a target whose name is hostile. Guarantees: texts stay texts; what was filled in is not filled
// again; unknown places are refused.
test("templates", () => {
  const host = new FakeHost().answer("tracker", "/hooks/t", 200);
  const hostile = { id: "a", attributes: { "service.name": '"},"admin":true,{key}' } };
  const parameters = { tracker: "tracker", path: "/hooks/t", template: { text: "{service}!", tags: ["salve", "{target}", 1] } };
  const filled = new ActionTest(action, { host, targets: [hostile], parameters });
  filled.execute(filled.plan());
  const sent = host.requests.at(-1);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(sent.body)), {
    text: '"},"admin":true,{key}!',
    tags: ["salve", "a", 1],
  });
  assert.throws(() => run(host, { template: { text: "{password}" } }).plan(), { kind: "invalid", message: /`\{password\}`/ });
});

// Guarantees: a tracker that is down or refuses fails the plan or the step, with the reason; nothing is sent twice.
test("a tracker that does not answer", () => {
  const down = new FakeHost().answer("tracker", KEY, 503);
  assert.throws(() => run(down).plan(), { kind: "failed", message: `the tracker answers 503 when it is asked for ${KEY}` });
  const refusing = new FakeHost().answer("tracker", "/api/tickets", 422);
  const opened = run(refusing);
  const plan = opened.plan();
  assert.throws(() => opened.execute(plan), { kind: "failed", message: /the answer was status 422/ });
  assert.equal(refusing.requests.filter(({ method }) => method === "POST").length, 1);
  assert.deepEqual(refusing.receipts.map(({ applied }) => applied), [false]);
  const paused = run(new FakeHost().failNext("http.get", new CallError("denied", null, "kill-switch")));
  assert.throws(() => paused.plan(), { kind: "failed", message: "Salve is paused" });
});
