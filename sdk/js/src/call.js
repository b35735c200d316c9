// How calls of the contract reach the author's code, and how what it throws reaches the host.

import { CallError, Failure } from "./failure.js";
import { enter, leave } from "./host.js";
import * as log from "./log.js";

let trap = () => {};

/** What ends the call in a component: what is thrown would be taken for the contract's error where that is a text. */
export function trapBy(end) {
  trap = end;
}

/**
 * Runs the author's code: `body` with up to three values. What it throws as `Failure` becomes the contract's error by `failed`;
 * anything else is a fault of the plugin: it is written to the host's log and thrown on, and the call traps.
 */
export function run(name, failed, body, first, second, third) {
  const before = enter();
  try {
    return body(first, second, third);
  } catch (error) {
    const failure = error instanceof CallError && failed.calls ? error.toFailure() : error;
    if (failure instanceof Failure) throw failed(failure);
    const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    log.error(`${name}: ${what}`, error?.stack ? { stack: error.stack } : {});
    trap();
    throw error;
  } finally {
    leave(before);
  }
}

/** The contract's error is thrown as its bare value. */
export const asText = ({ message }) => message.toWellFormed();
export const asVariant = ({ kind, message }) => ({ tag: kind, val: message.toWellFormed() });
asVariant.calls = true;

/** The parameters, which the host has checked against the manifest's schema. */
export function parameters(json) {
  try {
    return JSON.parse(json === "" ? "{}" : json);
  } catch (error) {
    throw Failure.invalid(`parameters: ${error.message}`);
  }
}
