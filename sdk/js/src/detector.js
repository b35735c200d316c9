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

const columns = (given) => ({
  score: check.column(given.score, "scores.score", Float32Array),
  confidence: check.column(given.confidence, "scores.confidence", Float32Array),
  expected: check.column(given.expected, "scores.expected", Float64Array),
  lower: check.column(given.lower, "scores.lower", Float64Array),
  upper: check.column(given.upper, "scores.upper", Float64Array),
});

function output(given) {
  if (given === undefined) return { observations: [], scores: null };
  const { observations, scores } = Array.isArray(given) ? { observations: given } : check.record(given, "what `observe` returns");
  return {
    observations: check.list(observations ?? [], "observations", observation),
    scores: scores ? columns(scores) : null,
  };
}

/** The batch as authors see it. The engine made the object for this call alone, so it is not copied. */
function batchOf(batch) {
  batch.sequence = received.u64(batch.sequence);
  batch.now = received.u64(batch.now);
  if (batch.added.length > 0) batch.added = batch.added.map(received.series);
  batch.removed = received.u32s(batch.removed);
  batch.series = received.u32s(batch.series);
  batch.times = received.u64s(batch.times);
  return batch;
}

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
  const configured = (json) => {
    seed("");
    instance = new Detector(parameters(json));
  };
  const observed = (batch) => output(made().observe(batchOf(batch)));
  const written = () => {
    if (made().snapshot === undefined) return { format: 0, bytes: new Uint8Array() };
    const { format, bytes } = check.record(instance.snapshot(), "what `snapshot` returns");
    return { format: check.whole32(format, "format"), bytes: check.bytes(bytes, "bytes") };
  };
  const restored = ({ format, bytes }) => {
    made().restore?.({ format: received.u32(format), bytes: Uint8Array.from(bytes) });
  };
  return {
    configure: (json) => run("configure", asText, configured, json),
    observe: (batch) => run("observe", asText, observed, batch),
    snapshot: () => run("snapshot", asText, written),
    restore: (state) => run("restore", asText, restored, state),
  };
}
