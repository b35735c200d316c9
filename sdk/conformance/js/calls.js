// Scripts: what they log and call; `sdk/conformance/README.md` says how.

import { CallError, clock, config, http, log, notify, process, telemetry } from "salve-plugin";
import * as term from "./terms.js";

export function write(lines = []) {
  for (const { level, message, fields = [] } of lines) log.write(level, message, fields);
}

export const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (digits) => parseInt(digits, 16));

const window = ({ from, to }) => telemetry.window(Number(from), Number(to));
const request = ({ target, method, path, query, headers, body = "", idempotency_key }) => ({
  target,
  method,
  path,
  query,
  headers,
  body: bytes(body),
  idempotencyKey: idempotency_key,
});

/** The result of a call as a term. */
function result(call, shown) {
  try {
    return `ok(${shown(call())})`;
  } catch (error) {
    if (error instanceof CallError) return `err(${term.callError(error)})`;
    throw error;
  }
}

/** A call of `telemetry` or `clock`. `now`: of the request or incident. */
export function observe(call, now) {
  switch (call.call) {
    case "telemetry.services":
      return term.list(telemetry.services(window(call)), term.service);
    case "telemetry.edges":
      return term.list(telemetry.edges(window(call)), term.edge);
    case "telemetry.changes":
      return term.list(telemetry.changes(window(call)), term.change);
    case "telemetry.find":
      return term.list(telemetry.find(call.service, call.name_prefix), term.series);
    case "telemetry.points":
      return term.list(telemetry.points(call.series, window(call)), term.point);
    case "clock.now":
      return String(clock.now() >= now);
    case "clock.sleep": {
      const before = clock.now();
      clock.sleep(call.duration_ms);
      return String(clock.now() >= before + call.duration_ms * 1e6);
    }
  }
  throw new Error(`no call \`${call.call}\``);
}

/** Any call. */
export function act(call, now) {
  const { target, key, value, fields } = call;
  switch (call.call) {
    case "process.status":
      return result(() => process.status(target), term.status);
    case "process.start":
      return result(() => process.start(target), term.receipt);
    case "process.stop":
      return result(() => process.stop(target), term.receipt);
    case "process.restart":
      return result(() => process.restart(target), term.receipt);
    case "config.get":
      return result(() => config.get(target, key), term.optionalText);
    case "config.history":
      return result(
        () => config.history(target, key),
        (all) => term.list(all, term.version),
      );
    case "config.keys":
      return result(
        () => config.keys(target),
        (all) => term.list(all, ([name, value]) => `(${term.text(name)},${term.optionalText(value)})`),
      );
    case "config.set":
      return result(() => config.set(target, key, value), term.receipt);
    case "http.get":
      return result(() => http.get(request(call)), term.response);
    case "http.send":
      return result(
        () => http.send(request(call)),
        ({ response, receipt }) => `(${term.response(response)},${term.receipt(receipt)})`,
      );
    case "notify.send":
      return result(() => notify.send(target, fields), term.receipt);
  }
  return observe(call, now);
}

/** The step of a write. */
export function step(call) {
  const { target, key, value, fields } = call;
  switch (call.call) {
    case "process.start":
      return process.startStep(target);
    case "process.stop":
      return process.stopStep(target);
    case "process.restart":
      return process.restartStep(target);
    case "config.set":
      return config.setStep(target, key, value);
    case "http.send":
      return http.sendStep(request(call));
    case "notify.send":
      return notify.sendStep(target, fields);
  }
  throw new Error(`no write \`${call.call}\``);
}
