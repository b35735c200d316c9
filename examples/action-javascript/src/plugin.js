// @ts-check
// Opens one ticket for an incident in a tracker, by HTTP.
//
// What always holds:
// - one incident and target make one key, and one key makes at most one open ticket: it is looked for while planning, and a
//   repeat carries the same `Idempotency-Key`
// - what strangers wrote fills places within texts of the template; it can add no field and no markup of JSON
// - the ticket that is sent is the one whose digest stands in the plan
//
// Not here: host, secrets and which paths are allowed (target and grant); whether a ticket is a good idea (policies).

import { Failure, Plan, defineAction, encodePathSegment, executePlan, http } from "salve-plugin";

/** Longest text that fills a place, in characters. */
const FILLED_CHARS_MAX = 200;

const TEMPLATE = {
  external_id: "{key}",
  title: "{service} needs a look",
  description: "Salve sees an incident on {target} since {started} (incident {incident}).",
};

/** @typedef {{ tracker?: string, path?: string, template?: object, close_on_undo?: boolean }} Parameters See `plugin.toml`. */
/** @typedef {import("salve-plugin").Request<Parameters>} Request */

/**
 * Fills `{name}` in all texts of a value. What is filled in is not looked at again.
 * @param {unknown} template
 * @param {Record<string, string>} fields
 * @returns {unknown}
 */
function filled(template, fields) {
  if (typeof template === "string") {
    return template.replace(/\{([a-z_]+)\}/g, (place, name) => {
      if (!Object.hasOwn(fields, name)) throw Failure.invalid(`the template has no field \`${place}\``);
      return fields[name];
    });
  }
  if (Array.isArray(template)) return template.map((item) => filled(item, fields));
  if (template === null || typeof template !== "object") return template;
  return Object.fromEntries(Object.entries(template).map(([name, value]) => [name, filled(value, fields)]));
}

/**
 * Everything that a request comes to; `plan` and `execute` must see the same.
 * @param {Request} request
 */
function ticket(request) {
  const { incident, target, started, parameters } = request;
  const { tracker = target.id, path = "/api/tickets", template = TEMPLATE, close_on_undo = false } = parameters;
  const key = `salve-${incident}-${target.id}`;
  /** @param {string} text */
  const short = (text) => text.slice(0, FILLED_CHARS_MAX);
  const fields = {
    key,
    incident: short(incident),
    target: short(target.id),
    service: short(target.attributes["service.name"] ?? target.id),
    started: new Date(Math.floor(started / 1e6)).toISOString(),
  };
  const place = `${path}/${encodePathSegment(key)}`;
  return {
    place,
    opened: { target: tracker, method: "POST", path, json: filled(template, fields), idempotencyKey: key },
    closed: { target: tracker, method: "POST", path: `${place}/close`, idempotencyKey: `${key}-close` },
    look: { target: tracker, path: place },
    closeOnUndo: close_on_undo,
  };
}

export default defineAction({
  /** @param {Request} request */
  plan(request) {
    const { opened, closed, look, place, closeOnUndo } = ticket(request);
    const found = http.get(look);
    if (found.ok && found.json().state !== "closed") {
      throw Failure.notApplicable(`the ticket ${place} is open already`);
    }
    if (!found.ok && found.status !== 404) {
      throw Failure.failed(`the tracker answers ${found.status} when it is asked for ${place}`);
    }
    const step = http.sendStep(opened);
    step.after = "open";
    if (closeOnUndo) step.inverse = http.sendStep(closed).arguments;
    return new Plan(`Open a ticket for ${request.target.id} in ${opened.target}`).step(step);
  },

  /** @param {Request} request */
  execute(request, plan) {
    return executePlan(plan, [http.request(ticket(request).opened).body]);
  },
});
