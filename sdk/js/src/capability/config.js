// Keys of configuration files (TOML, YAML, JSON, .env). A set is taken back by a set of the value before.

import { CallError, guarded } from "../failure.js";
import { hostInterface } from "../host.js";
import { idOf, step } from "../plan.js";
import * as received from "../received.js";

const host = () => hostInterface("config");
const text = (value) => (value === null || value === undefined ? null : String(value).toWellFormed());

export const get = (target, key) => guarded(() => host().get(idOf(target), key)) ?? null;
export const history = (target, key) => guarded(() => host().history(idOf(target), key)).map(received.version);
export const keys = (target) => guarded(() => host().keys(idOf(target)));
/** `null` removes the key. */
export const set = (target, key, value) => received.receipt(guarded(() => host().set(idOf(target), key, text(value))));

export const setStep = (target, key, value) => step("config", "set", target, { key, value: text(value) });

/** Makes the call that a step licenses. */
export function perform({ verb, target, arguments: json }) {
  if (verb !== "set") throw new CallError("not-found", `\`config\` has no write \`${verb}\``);
  const { key, value } = JSON.parse(json);
  return set(target, key, value);
}
