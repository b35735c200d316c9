// Detectors: long-lived instances that see points and say what is abnormal.

import { asText, parameters, run } from "./call.js";
import * as check from "./check.js";
import { Failure } from "./failure.js";
import { seed } from "./guards.js";
import * as received from "./received.js";

/** Bit of a point's flags: first after a gap or a counter reset. */
export const FLAG_AFTER_GAP = 1;

/** The ways in which a series can be abnormal. */
export const KINDS = ["point", "level-shift", "trend", "seasonal-break", "missing"];

/** Series with new points, in the order of the columns: `{ series, from, to }`, the end not included. */
export function bySeries({ series, offsets }) {
  const parts = new Array(series.length);
  for (let index = 0; index < series.length; index++) {
    parts[index] = { series: series[index], from: offsets[index], to: offsets[index + 1] };
  }
  return parts;
}

/** Columns for `points` points, of score 0 and nothing known. */
export function zeroScores(points) {
  const [score, confidence] = [new Float32Array(points), new Float32Array(points)];
  const [expected, lower, upper] = [new Float64Array(points), new Float64Array(points), new Float64Array(points)];
  return { score, confidence, expected, lower, upper };
}

const observation = (given, path) => ({
  series: check.whole32(given?.series, path, "series"),
  time: check.whole(given.time, path, "time"),
  kind: check.oneOf(given.kind, path, "kind", KINDS),
  rising: check.boolean(given.rising, path, "rising"),
  score: check.number(given.score, path, "score"),
  confidence: check.number(given.confidence, path, "confidence"),
  value: check.number(given.value, path, "value"),
  expected: check.number(given.expected, path, "expected"),
  lower: check.number(given.lower, path, "lower"),
  upper: check.number(given.upper, path, "upper"),
  reason: check.text(given.reason, path, "reason"),
  extra: check.attributes(given.extra, path, "extra"),
});

function output(given) {
  if (given === undefined) return { observations: [], scores: null };
  const { observations, scores } = Array.isArray(given) ? { observations: given } : check.record(given, "what `observe` returns");
  const column = (name, Column) => check.column(scores[name], `scores.${name}`, Column);
  return {
    observations: check.list(observations ?? [], "observations", observation),
    scores: scores
      ? {
          score: column("score", Float32Array),
          confidence: column("confidence", Float32Array),
          expected: column("expected", Float64Array),
          lower: column("lower", Float64Array),
          upper: column("upper", Float64Array),
        }
      : null,
  };
}

/** The batch as authors see it. */
const batchOf = (raw) => ({
  sequence: received.u64(raw.sequence),
  now: received.u64(raw.now),
  added: raw.added.map(received.series),
  removed: received.u32s(raw.removed),
  series: received.u32s(raw.series),
  offsets: raw.offsets,
  times: received.u64s(raw.times),
  values: raw.values,
  pointFlags: raw.pointFlags,
  scores: raw.scores,
});

/**
 * Makes a detector of a class: `new Detector(parameters)`, `observe(batch)`, and `snapshot()` and `restore(state)` if there
 * is something to remember.
 */
export function defineDetector(Detector) {
  if (typeof Detector !== "function" || typeof Detector.prototype?.observe !== "function") {
    throw new TypeError("a detector is a class with a method `observe`");
  }
  // A component has one instance, a test as many as it wants.
  const fresh = () => exportsOf(Detector);
  return { role: "detector", detect: fresh(), fresh };
}

/** The contract's functions around one instance. */
function exportsOf(Detector) {
  let instance = null;
  const made = () => {
    if (instance === null) throw Failure.invalid("`configure` was not called");
    return instance;
  };
  return {
    configure: (json) =>
      run(
        "configure",
        () => {
          seed("");
          instance = new Detector(parameters(json));
        },
        asText,
      ),
    observe: (batch) =>
      run(
        "observe",
        () => output(made().observe(batchOf(batch))),
        asText,
      ),
    snapshot: () =>
      run(
        "snapshot",
        () => {
          if (made().snapshot === undefined) return { format: 0, bytes: new Uint8Array() };
          const { format, bytes } = check.record(instance.snapshot(), "what `snapshot` returns");
          return { format: check.whole32(format, "format"), bytes: check.bytes(bytes, "bytes") };
        },
        asText,
      ),
    restore: ({ format, bytes }) =>
      run(
        "restore",
        () => {
          made().restore?.({ format: received.u32(format), bytes: Uint8Array.from(bytes) });
        },
        asText,
      ),
  };
}
