// The suite's detector; `sdk/conformance/README.md` says how it behaves.

import { FLAG_AFTER_GAP, Failure, KINDS, bySeries, decodeUtf8, defineDetector, encodeUtf8, zeroScores } from "salve-plugin";
import * as term from "../terms.js";

const FORMAT = 7;
const DEVIATION_MAX = 1e300;

const identity = ({ name, unit, attributes }) => term.record(term.text(name), term.text(unit), term.attributes(attributes));
const added = ({ id, name, unit, group, limit, attributes }) =>
  term.record(id, term.text(name), term.text(unit), group, term.option(limit, term.double), term.attributes(attributes));
const shown = (batch) =>
  term.record(
    term.integer(batch.sequence),
    term.integer(batch.now),
    term.list(batch.added, added),
    term.list(batch.removed),
    term.list(batch.series),
    term.list(batch.offsets),
    term.list(batch.times, term.integer),
    term.list(batch.values, term.double),
    term.list(batch.pointFlags),
    batch.scores,
  );

const view = new DataView(new ArrayBuffer(8));
function double(hex) {
  if (!/^[0-9a-f]{16}$/.test(hex)) throw Failure.invalid(`\`${hex}\` is no double`);
  view.setBigUint64(0, BigInt(`0x${hex}`));
  return view.getFloat64(0);
}

class Scripted {
  #series = new Map();
  #restored = new Map();
  #newest = "none";

  constructor(parameters) {
    if (parameters.fail_configure !== undefined) throw Failure.invalid(parameters.fail_configure);
    this.parameters = parameters;
  }

  observe(batch) {
    const { threshold = 1, reason = "", report_missing = false, fail_observe, fail_at } = this.parameters;
    if (fail_observe !== undefined && fail_at === String(batch.sequence)) throw Failure.failed(fail_observe);
    this.#newest = shown(batch);
    for (const id of batch.removed) this.#series.delete(id);
    for (const series of batch.added) {
      const name = identity(series);
      if (this.#series.get(series.id)?.name === name) continue;
      const state = this.#restored.get(name) ?? { count: 0, sum: 0, last: 0 };
      this.#restored.delete(name);
      this.#series.set(series.id, { name, ...state });
    }
    const observations = [];
    const scores = zeroScores(batch.values.length);
    for (const { series, from, to } of bySeries(batch)) {
      const state = this.#series.get(series);
      for (let at = from; at < to; at++) {
        const value = batch.values[at];
        if (batch.pointFlags[at] & FLAG_AFTER_GAP) Object.assign(state, { count: 0, sum: 0 });
        const { count } = state;
        const expected = count === 0 ? value : state.sum / count;
        const deviation = Math.min(Math.abs(value - expected), DEVIATION_MAX);
        const score = deviation / (1 + deviation);
        const confidence = count / (count + 1);
        const [lower, upper] = [expected - threshold, expected + threshold];
        if (deviation > threshold) {
          const kind = KINDS[count % 5];
          const time = batch.times[at];
          observations.push({ series, time, kind, rising: value > expected, score, confidence, value, expected, lower, upper, reason });
        }
        scores.score[at] = score;
        scores.confidence[at] = confidence;
        scores.expected[at] = expected;
        scores.lower[at] = lower;
        scores.upper[at] = upper;
        state.sum += value;
        state.count++;
        state.last = value;
        if (!Number.isFinite(state.sum)) Object.assign(state, { count: 1, sum: value });
      }
    }
    if (batch.values.length === 0 && report_missing) {
      for (const [series, { last, count }] of this.#byId()) {
        const numbers = { score: 1, confidence: 1, value: last, expected: count, lower: 0, upper: 0 };
        observations.push({ series, time: batch.now, kind: "missing", rising: false, ...numbers, reason });
      }
    }
    return { observations, scores: batch.scores ? scores : null };
  }

  #byId() {
    return [...this.#series].sort(([a], [b]) => a - b);
  }

  snapshot() {
    const lines = this.#byId().map(
      ([, { count, sum, last, name }]) => `\n${count} ${term.double(sum)} ${term.double(last)} ${name}`,
    );
    return { format: FORMAT, bytes: encodeUtf8(this.#newest + lines.join("")) };
  }

  restore({ format, bytes }) {
    if (format !== FORMAT) throw Failure.invalid(`format ${format}`);
    const [, ...lines] = decodeUtf8(bytes).split("\n");
    for (const line of lines) {
      const parts = /^(\d+) (\S+) (\S+) (.*)$/s.exec(line);
      if (parts === null) throw Failure.invalid("a line cannot be read");
      const [, count, sum, last, name] = parts;
      this.#restored.set(name, { count: Number(count), sum: double(sum), last: double(last) });
    }
  }
}

export default defineDetector(Scripted);
