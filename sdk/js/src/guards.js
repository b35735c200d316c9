// What JavaScript programs expect and a plugin does not have. Some of it traps in the engine without a word, so it is
// replaced: by the host's clock and seeded numbers where that is right, else by errors that say what to use.

import * as clock from "./clock.js";
import * as log from "./log.js";
import { decodeUtf8, encodeUtf8 } from "./text.js";

/** What was used does not exist in a plugin. */
export class Unsupported extends Error {
  constructor(what, instead) {
    super(`\`${what}\` does not exist in a plugin; ${instead}`);
    this.name = "Unsupported";
  }
}

const NO_TIME = "use `clock.now()`, or in a detector `batch.now`";

function nowMs(what) {
  try {
    return clock.nowMs();
  } catch (error) {
    throw new Unsupported(what, `${NO_TIME} (${error.message})`);
  }
}

/** `Date` with the host's clock. */
function hostDate(RealDate) {
  function HostDate(...parts) {
    if (!new.target) return new RealDate(nowMs("Date()")).toString();
    return Reflect.construct(RealDate, parts.length > 0 ? parts : [nowMs("new Date()")], new.target);
  }
  HostDate.prototype = RealDate.prototype;
  HostDate.UTC = RealDate.UTC;
  HostDate.parse = RealDate.parse;
  HostDate.now = () => nowMs("Date.now()");
  return HostDate;
}

/** sfc32 (C. Doty-Humphrey, PractRand), seeded by a text: equal calls see equal numbers, so that they can be replayed. */
export function seededRandom(seed) {
  // FNV-1a spreads the seed over the state.
  const hash = (salt) => {
    let value = (0x811c9dc5 ^ salt) >>> 0;
    for (let at = 0; at < seed.length; at++) value = Math.imul(value ^ seed.charCodeAt(at), 0x01000193);
    return value | 0;
  };
  let [a, b, c, counter] = [hash(1), hash(2), hash(3), 1];
  const next = () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 15; i++) next();
  return () => (next() * 2097152 + (next() >>> 11)) / 9007199254740992;
}

let seedText = "";
let row = null;

/** Begins a row of random numbers, at each call of an action or agent. Most calls ask for none, so it is made when one does. */
export function seed(text) {
  seedText = text;
  row = null;
}

function random() {
  row ??= seededRandom(seedText);
  return row();
}

const printed = (value) => {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value}\n${value.stack}`;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
};
const line = (values) => values.map(printed).join(" ");

const hostConsole = {
  debug: (...values) => log.debug(line(values)),
  log: (...values) => log.info(line(values)),
  info: (...values) => log.info(line(values)),
  warn: (...values) => log.warn(line(values)),
  error: (...values) => log.error(line(values)),
  trace: (...values) => log.debug(line(values)),
  assert: (holds, ...values) => holds || log.error(`assertion failed: ${line(values)}`),
};

class HostTextEncoder {
  encoding = "utf-8";
  encode(text = "") {
    return encodeUtf8(String(text));
  }
}

class HostTextDecoder {
  encoding = "utf-8";
  #options;
  constructor(label = "utf-8", options = {}) {
    if (!/^utf-?8$/i.test(label)) throw new Unsupported(`TextDecoder("${label}")`, "only UTF-8 is known");
    this.#options = options;
  }
  decode(bytes = new Uint8Array()) {
    return decodeUtf8(new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength), this.#options);
  }
}

const missing = (what, instead) =>
  function () {
    throw new Unsupported(what, instead);
  };

const NO_TIMER = "there is no event loop; wait by `clock.sleep(ms)` or `clock.poll`";
const NO_WEB = "name the capability `http` in plugin.toml and use `http.get` and `http.send`";
const NO_MODULE = "plugins see only what the host gives them";
const MISSING = {
  setTimeout: NO_TIMER,
  setInterval: NO_TIMER,
  setImmediate: NO_TIMER,
  clearTimeout: NO_TIMER,
  clearInterval: NO_TIMER,
  fetch: NO_WEB,
  XMLHttpRequest: NO_WEB,
  WebSocket: NO_WEB,
  URL: "give `http` a `path` and a `query`; `encodePathSegment` encodes one part of a path",
  URLSearchParams: "give `http` a `query`; `encodeQuery` makes the text of one",
  require: "use `import`; packages of Node itself do not exist here",
  Worker: NO_MODULE,
  structuredClone: "use `JSON.parse(JSON.stringify(value))`",
};

/** Replaces globals; gives back a function that brings the old ones back. `all`: those that the engine lacks, too. */
export function install({ all }) {
  const before = [];
  const replace = (owner, name, value) => {
    before.push([owner, name, Object.getOwnPropertyDescriptor(owner, name)]);
    Object.defineProperty(owner, name, { value, writable: true, configurable: true, enumerable: false });
  };
  replace(globalThis, "Date", hostDate(Date));
  replace(Math, "random", () => random());
  for (const [name, instead] of Object.entries(MISSING)) {
    if (all || name.startsWith("set") || name === "fetch") replace(globalThis, name, missing(name, instead));
  }
  if (all) {
    const now = () => {
      throw new Unsupported("performance.now()", NO_TIME);
    };
    replace(globalThis, "performance", { now, timeOrigin: 0 });
    const instead = "make a key of the incident's id; random numbers are seeded, so that calls can be replayed";
    const names = { randomUUID: missing("crypto.randomUUID()", instead), getRandomValues: missing("crypto.getRandomValues()", instead) };
    replace(globalThis, "crypto", names);
    replace(globalThis, "console", hostConsole);
    replace(globalThis, "TextEncoder", HostTextEncoder);
    replace(globalThis, "TextDecoder", HostTextDecoder);
  }
  return () => {
    for (const [owner, name, descriptor] of before.reverse()) {
      if (descriptor === undefined) delete owner[name];
      else Object.defineProperty(owner, name, descriptor);
    }
  };
}
