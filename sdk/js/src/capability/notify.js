// Messages to people. The template is the operator's; the host escapes the fields for the channel.

import { CallError, guarded } from "../failure.js";
import { hostInterface } from "../host.js";
import { idOf, step } from "../plan.js";
import * as received from "../received.js";
import { pairs } from "../text.js";

/** After a `timed-out` nobody knows whether it arrived; do not repeat it. */
export const send = (target, fields) => 
  received.receipt(guarded(() => hostInterface("notify").send(idOf(target), pairs(fields))));

export const sendStep = (target, fields) => step("notify", "send", target, { fields: pairs(fields) });

/** Makes the call that a step licenses. */
export function perform({ verb, target, arguments: json }) {
  if (verb !== "send") throw new CallError("not-found", `\`notify\` has no write \`${verb}\``);
  return send(target, JSON.parse(json).fields);
}
