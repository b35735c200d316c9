// `node --test`; needs neither WebAssembly nor a running Salve.

import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "salve-plugin";
import { DetectorTest } from "salve-plugin/testing";
import detector from "../src/plugin.js";

/** Poisson counts (D. E. Knuth's method), the same for the same seed. */
function poisson(seed) {
  const random = seededRandom(seed);
  return (mean) => {
    let count = 0;
    for (let product = random(); product > Math.exp(-mean); product *= random()) count++;
    return count;
  };
}

// Scenario: quiet and busy counters without bursts, an hour each. Guarantees: at most one false observation in 10,000 points.
test("ordinary counts are not observed", () => {
  const count = poisson("ordinary");
  const run = new DetectorTest(detector);
  const means = [0.1, 1, 5, 20, 100];
  const ids = means.map((mean) => run.add("errors", { mean: String(mean) }));
  let observed = 0;
  for (let step = 0; step < 3600; step++) observed += run.push(ids.map((id, index) => [id, count(means[index])])).length;
  assert.ok(observed <= 2, `${observed} observations of 18,000 points`);
});

// Scenario: bursts on quiet and busy counters, of which two come in a row. Guarantees: each of their points is observed, as
// rising, with bounds, and nothing after them.
test("bursts are observed for as long as they last", () => {
  const count = poisson("bursts");
  for (const [mean, burst] of [
    [0.2, 12],
    [5, 40],
    [100, 220],
  ]) {
    const run = new DetectorTest(detector);
    const id = run.add("errors");
    for (let step = 0; step < 120; step++) run.push([[id, count(mean)]]);
    for (let step = 0; step < 10; step++) {
      const [seen] = run.push([[id, burst]]);
      assert.ok(seen?.rising && seen.score > 0.5 && seen.upper < burst && seen.expected < seen.upper, `${burst} at ${mean}`);
    }
    assert.deepEqual(run.push([[id, count(mean)]]), []);
  }
});

// Guarantees: a level that stays becomes usual; the first count after a gap, which may be that of the whole gap, says nothing.
test("new levels and gaps", () => {
  const run = new DetectorTest(detector, { parameters: { window_points: 20 } });
  const id = run.add("errors");
  for (let step = 0; step < 40; step++) run.push([[id, 10]]);
  assert.equal(run.pushColumns([{ series: id, value: 500, flags: 1 }]).observations.length, 0);
  let last = 0;
  for (let step = 0; step < 60; step++) if (run.push([[id, 60]]).length > 0) last = step;
  assert.ok(last > 5 && last < 40, `usual after ${last} points`);
});

// Scenario: a restart between two points. Guarantees: the same is said with and without it, dense scores included.
test("a restart changes nothing", () => {
  const runs = [new DetectorTest(detector), new DetectorTest(detector)];
  const count = poisson("restart");
  const ids = runs.map((run) => [run.add("a"), run.add("b")]);
  const said = runs.map(() => []);
  for (let step = 0; step < 200; step++) {
    const values = [count(3), step % 50 === 49 ? 60 : count(7)];
    if (step === 100) runs[1].restartFrom(runs[1].snapshot());
    runs.forEach((run, index) => {
      const points = values.map((value, series) => ({ series: ids[index][series], value }));
      said[index].push(run.pushColumns(points, { scores: true }));
    });
  }
  assert.deepEqual(said[0], said[1]);
  assert.equal(said[0].flatMap(({ observations }) => observations).length, 4);
  assert.throws(() => runs[0].restartFrom({ format: 9, bytes: new Uint8Array() }), { message: /layout 9/ });
});
