// Processes that Salve supervises. Nothing here can be undone.

import { CallError, guarded } from "../failure.js";
import { hostInterface } from "../host.js";
import { idOf, written } from "../plan.js";
import * as received from "../received.js";

const host = () => hostInterface("process");

export const status = (target) => received.processStatus(guarded(() => host().status(idOf(target))));
export const start = (target) => received.receipt(guarded(() => host().start(idOf(target))));
export const stop = (target) => received.receipt(guarded(() => host().stop(idOf(target))));
export const restart = (target) => received.receipt(guarded(() => host().restart(idOf(target))));

export const startStep = (target) => written("process", "start", target, "{}");
export const stopStep = (target) => written("process", "stop", target, "{}");
export const restartStep = (target) => written("process", "restart", target, "{}");

/** Makes the call that a step licenses. */
export function perform({ verb, target }) {
  const verbs = { start, stop, restart };
  if (!Object.hasOwn(verbs, verb)) throw new CallError("not-found", `\`process\` has no verb \`${verb}\``);
  return verbs[verb](target);
}
