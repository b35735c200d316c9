// HTTP calls to a target. The target has scheme, host and port; the grant has methods, paths, headers and secrets.

import { CallError, guarded } from "../failure.js";
import { hostInterface } from "../host.js";
import { bodySha256, canonicalJson, idOf, written } from "../plan.js";
import * as received from "../received.js";
import { bytesOf, decodeUtf8, pairs } from "../text.js";

const host = () => hostInterface("http");
const EMPTY_SHA256 = bodySha256("");

/** A request in full. `body`: text or bytes; or `json`: a value, sent as canonical JSON with its content type. */
export function request({ target, method, path, query, headers, body, json, idempotencyKey }) {
  const all = pairs(headers);
  let content = body ?? "";
  if (json !== undefined) {
    content = canonicalJson(json);
    if (!all.some(([name]) => name.toLowerCase() === "content-type")) all.push(["content-type", "application/json"]);
  }
  return {
    target: idOf(target),
    method: String(method).toWellFormed(),
    path: String(path).toWellFormed(),
    query: pairs(query),
    headers: all,
    body: bytesOf(content),
    idempotencyKey: idempotencyKey === undefined || idempotencyKey === null ? null : String(idempotencyKey).toWellFormed(),
  };
}

/** What came back. */
export class Response {
  constructor({ status, headers, body }) {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
  /** Below 400. */
  get ok() {
    return this.status < 400;
  }
  /** The body as text. */
  text() {
    return decodeUtf8(this.body);
  }
  /** The body as JSON; throws if it is none. */
  json() {
    return JSON.parse(this.text());
  }
  /** The first header of that name, in any case. */
  header(name) {
    return this.headers.find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];
  }
}

/** GET, or HEAD. A status of 400 and above is an answer, not an error. */
export const get = (given) => new Response(guarded(() => host().get(request({ method: "GET", ...given }))));

/** Any other method. Gives back `{ response, receipt }`. */
export function send(given) {
  const [response, receipt] = guarded(() => host().send(request(given)));
  return { response: new Response(response), receipt: received.receipt(receipt) };
}

/** The step that licenses `send` with just this request; its body by digest. */
export function sendStep(given) {
  const { target, method, path, query, headers, body, idempotencyKey } = request(given);
  // In the order of their names, which is the canonical one; all texts of a request are well-formed.
  const args = { "body-sha256": bodySha256(body), headers, "idempotency-key": idempotencyKey, method, path, query };
  return written("http", "send", target, JSON.stringify(args));
}

/** Makes the call that a step licenses; its body is found in `bodies` by digest. */
export function perform({ verb, target, arguments: json }, bodies) {
  if (verb !== "send") throw new CallError("not-found", `\`http\` has no write \`${verb}\``);
  const args = JSON.parse(json);
  const digest = args["body-sha256"];
  const body = digest === EMPTY_SHA256 ? "" : bodies.find((body) => bodySha256(body) === digest);
  if (body === undefined) throw new CallError("not-found", `no body has the digest ${digest}`);
  const { method, path, query, headers } = args;
  const { response, receipt } = send({ target, method, path, query, headers, body, idempotencyKey: args["idempotency-key"] });
  if (!response.ok) throw new CallError("failed", `the answer was status ${response.status}`);
  return receipt;
}
