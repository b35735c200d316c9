// Write Salve detectors, agents and actions in JavaScript or TypeScript. The types are in `types/index.d.ts`.

export { defineAction, done, executePlan, notDone, undoReceipts } from "./action.js";
export { defineAgent } from "./agent.js";
export * as config from "./capability/config.js";
export * as http from "./capability/http.js";
export * as notify from "./capability/notify.js";
export * as process from "./capability/process.js";
export * as clock from "./clock.js";
export { Reader, Writer } from "./codec.js";
export { FLAG_AFTER_GAP, KINDS, bySeries, defineDetector, zeroScores } from "./detector.js";
export { CallError, Failure } from "./failure.js";
export { Unsupported, seededRandom } from "./guards.js";
export * as log from "./log.js";
export { Plan, bodySha256, expectation, step } from "./plan.js";
export { SeriesTable, WAIT_NS, identity } from "./series.js";
export { sha256 } from "./sha256.js";
export * as telemetry from "./telemetry.js";
export { decodeUtf8, encodePathSegment, encodeQuery, encodeUtf8, fromBase64, toBase64, toHex } from "./text.js";
