/** Write Salve detectors, agents and actions in JavaScript or TypeScript. Times are Unix nanoseconds: Numbers, exact to 256 ns. */

/** Names and values. */
export type Attributes = Record<string, string>;
/** What is taken where pairs are needed. */
export type Pairs = Record<string, string | number | boolean> | Map<string, string> | [string, string | number | boolean][];
/** The ways in which a series can be abnormal. */
export type Kind = "point" | "level-shift" | "trend" | "seasonal-break" | "missing";

/** Something that Salve can act on. `attributes` are the resource attributes that select it. */
export interface Target {
  id: string;
  attributes: Attributes;
}
/** A target of the request, or its id. */
export type TargetLike = Target | string;

/** Why a plugin does not do what it was asked. Throw it; anything else that is thrown counts as a fault of the plugin. */
export class Failure extends Error {
  readonly kind: "not-applicable" | "invalid" | "failed";
  constructor(kind: Failure["kind"], message: string);
  /** There is nothing to do here for this action, and why. */
  static notApplicable(message: string): Failure;
  /** The parameters, or a snapshot, make no sense, and why. */
  static invalid(message: string): Failure;
  /** It was tried and did not work, and why. */
  static failed(message: string): Failure;
}

/** Why the host refused a call, or why it failed. An action that does not catch it ends with a `Failure`. */
export class CallError extends Error {
  readonly kind: "denied" | "not-found" | "failed" | "timed-out";
  /** The host's text. */
  readonly detail: string | null;
  /** Why it was refused, if `kind` is `denied`. */
  readonly denied: "not-granted" | "not-in-plan" | "not-recorded" | "state-changed" | "kill-switch" | "limit" | null;
  constructor(kind: CallError["kind"], detail?: string | null, denied?: CallError["denied"]);
  toFailure(): Failure;
}

/** What was used does not exist in a plugin; the message says what to use. */
export class Unsupported extends Error {}

// --- Actions ---

/** Licenses one call with exactly these arguments, if the state is still `before`. */
export interface Step {
  capability: string;
  verb: string;
  target: string;
  /** Canonical JSON. */
  arguments: string;
  before: string | null;
  after: string | null;
  inverse: string | null;
}

/** What the telemetry must show for this to count as healed. Parameters in snake_case are taken as they are. */
export interface ExpectationInput {
  /** A service's name; empty or left out: the first target's. */
  service?: string;
  signal: string;
  lower?: number | null;
  upper?: number | null;
  /** The bounds must hold by then, counted from the end of `execute`. Default: one minute. */
  withinMs?: number;
  within_ms?: number;
  /** For this long without a break. Default: five seconds. */
  holdMs?: number;
  hold_ms?: number;
  /** Over at least so many points. Default: three. */
  samplesMin?: number;
  samples_min?: number;
}

export interface Expectation {
  service: string;
  signal: string;
  lower: number | null;
  upper: number | null;
  withinMs: number;
  holdMs: number;
  samplesMin: number;
}

/** A plan as the host has approved it. */
export interface Proposal {
  summary: string;
  steps: Step[];
  expect: Expectation[];
  extra: Attributes;
}

/** Builds a plan. `summary`: one sentence for a person, what this will do. */
export class Plan {
  constructor(summary: string);
  /** Adds steps, to be made after those before them. */
  step(...steps: Step[]): this;
  /** Adds what the telemetry must show afterwards, besides the incident's own symptoms clearing. */
  expect(...expectations: ExpectationInput[]): this;
  /** Adds a detail by name, for people and for `execute`. */
  extra(name: string, value: string): this;
}

/** What a policy asks of an action. */
export interface Request<P = Record<string, unknown>> {
  incident: string;
  targets: Target[];
  /** The first target; throws `Failure.notApplicable` if there is none. */
  readonly target: Target;
  /** The host has checked them against the manifest's schema. */
  parameters: P;
  /** When the incident's first symptom began. */
  started: number;
  now: number;
}

/** Proof of one write. `applied` is false in a dry-run, and if the target refused it: then `extra` has `refused`. */
export interface Receipt {
  call: number;
  step: number;
  target: string;
  verb: string;
  applied: boolean;
  before: string | null;
  after: string | null;
  extra: Attributes;
}

/** How it ended. Nobody takes its word for the heal: the telemetry decides. */
export interface Outcome {
  done: boolean;
  note?: string;
  extra?: Pairs;
}

/** An action. Each call gets a fresh instance of the component, so there is nothing to remember. */
export interface ActionDefinition<P = Record<string, unknown>> {
  /** Says what it would do. May read, may not write. */
  plan(request: Request<P>): Plan;
  /** Does what the approved plan names, and nothing else. Default: `executePlan`. */
  execute?(request: Request<P>, plan: Proposal): Outcome;
  /** Takes back what the receipts say was applied. Default: `undoReceipts`. */
  undo?(request: Request<P>, plan: Proposal, receipts: Receipt[]): Outcome;
}

/** A plugin: the module's default export. */
export interface Plugin<Role extends "action" | "agent" | "detector" = "action" | "agent" | "detector"> {
  readonly role: Role;
}

export function defineAction<P = Record<string, unknown>>(definition: ActionDefinition<P>): Plugin<"action">;
/** Makes the plan's steps in order and stops at the first that fails. `bodies`: what steps name by digest. */
export function executePlan(plan: Proposal, bodies?: (string | Uint8Array)[]): Outcome;
/** Makes the inverse of every applied receipt, newest first, as the plan states it; what has none stays, and is named. */
export function undoReceipts(plan: Proposal, receipts: Receipt[]): Outcome;
export function done(note?: string, extra?: Pairs): Outcome;
export function notDone(note?: string, extra?: Pairs): Outcome;
/** A step for a call that this version of the SDK does not know. */
export function step(capability: string, verb: string, target: TargetLike, args: object): Step;
export function expectation(given: ExpectationInput): Expectation;
/** Lower-case hex SHA-256, as steps name bodies. */
export function bodySha256(body: string | Uint8Array): string;

/** Processes that Salve supervises. Nothing here can be undone. Calls throw `CallError`. */
export namespace process {
  interface ProcessStatus {
    /** Null if it does not run. */
    pid: number | null;
    started: number | null;
    state: "running" | "stopped" | "exited" | "zombie";
    rssBytes: number;
    cpuSeconds: number;
    lastExit: string | null;
  }
  function status(target: TargetLike): ProcessStatus;
  function start(target: TargetLike): Receipt;
  function stop(target: TargetLike): Receipt;
  function restart(target: TargetLike): Receipt;
  function startStep(target: TargetLike): Step;
  function stopStep(target: TargetLike): Step;
  function restartStep(target: TargetLike): Step;
}

/** Keys of configuration files (TOML, YAML, JSON, .env); a key is a dotted path. Calls throw `CallError`. */
export namespace config {
  interface Version {
    /** Null: the key was absent. */
    value: string | null;
    since: number;
    /** It was in force for the configured time with no open incident on the target. */
    good: boolean;
  }
  function get(target: TargetLike, key: string): string | null;
  /** Newest first; the first is in force. */
  function history(target: TargetLike, key: string): Version[];
  /** Keys that may be read here, with the value in force. */
  function keys(target: TargetLike): [string, string | null][];
  /** `null` removes the key. */
  function set(target: TargetLike, key: string, value: string | number | boolean | null): Receipt;
  function setStep(target: TargetLike, key: string, value: string | number | boolean | null): Step;
}

/** HTTP calls to a target, which has scheme, host and port. Calls throw `CallError`; a status of 400 is an answer. */
export namespace http {
  interface RequestInput {
    target: TargetLike;
    /** Upper-case. `get`: left out for GET. */
    method?: string;
    /** Absolute, without scheme and host. */
    path: string;
    query?: Pairs;
    headers?: Pairs;
    body?: string | Uint8Array;
    /** In place of `body`: sent as canonical JSON with its content type. */
    json?: unknown;
    /** Sent as `Idempotency-Key` if the grant declares the call keyed. */
    idempotencyKey?: string | null;
  }
  class Response {
    readonly status: number;
    readonly headers: [string, string][];
    readonly body: Uint8Array;
    /** Below 400. */
    readonly ok: boolean;
    text(): string;
    json(): any;
    header(name: string): string | undefined;
  }
  /** A request in full, as it is sent. */
  function request(request: RequestInput & { method: string }): {
    target: string;
    method: string;
    path: string;
    query: [string, string][];
    headers: [string, string][];
    body: Uint8Array;
    idempotencyKey: string | null;
  };
  /** GET, or HEAD. */
  function get(request: RequestInput): Response;
  /** Any other method. */
  function send(request: RequestInput & { method: string }): { response: Response; receipt: Receipt };
  /** The step that licenses `send` with just this request; its body by digest. */
  function sendStep(request: RequestInput & { method: string }): Step;
}

/** Messages to people. The template is the operator's; the host escapes the fields for the channel. */
export namespace notify {
  /** After a `timed-out` nobody knows whether it arrived; do not repeat it. */
  function send(target: TargetLike, fields: Pairs): Receipt;
  function sendStep(target: TargetLike, fields: Pairs): Step;
}

// --- Agents ---

export interface Symptom {
  service: string;
  signal: string;
  attributes: Attributes;
  kind: Kind;
  rising: boolean;
  since: number;
  score: number;
  value: number;
  expected: number;
  reason: string;
}

export interface Incident {
  id: string;
  started: number;
  now: number;
  symptoms: Symptom[];
  targets: Target[];
  /** Actions that a policy may choose. */
  catalogue: { action: string; summary: string }[];
}

export interface Evidence {
  /** One sentence for a person. */
  text: string;
  /** The series name, edge or change it rests on. */
  reference?: string;
  /** How much it counts, in nats; negative speaks against. */
  weight?: number;
}

export interface Hypothesis {
  suspect: string;
  /** `absent`, `unresponsive`, `errors`, `slow`, `saturation`, `config-change`, `overload`, `unknown`, or the author's own. */
  mechanism: string;
  /** 0 to 1; over all hypotheses at most 1. */
  probability: number;
  evidence?: Evidence[];
  extra?: Pairs;
}

export interface Findings {
  /** Most probable first. */
  hypotheses?: Hypothesis[];
  /** Actions the agent would take. Policies decide. */
  suggestions?: { action: string; target: TargetLike; parameters?: object | string; reason?: string }[];
  /** For people; never parsed. */
  text?: string;
  extra?: Pairs;
}

export function defineAgent(definition: { consult(incident: Incident, question: "cause"): Findings }): Plugin<"agent">;

// --- Detectors ---

/** Bit of a point's flags: first after a gap or a counter reset. */
export const FLAG_AFTER_GAP: 1;
export const KINDS: readonly Kind[];

export interface Series {
  /** Dense from 0, reused after `removed`. */
  id: number;
  name: string;
  unit: string;
  /** Series of one group are peers. */
  group: number;
  /** A known capacity in the series' unit. */
  limit: number | null;
  attributes: Attributes;
}

/** New points of many series, as columns: `series[i]` owns the points `offsets[i]` to `offsets[i + 1]`. */
export interface Batch {
  sequence: number;
  /** The only clock a detector has. */
  now: number;
  added: Series[];
  removed: number[];
  series: number[];
  offsets: number[];
  /** Unix nanoseconds. */
  times: number[];
  values: number[];
  pointFlags: Uint8Array;
  /** Whether dense scores are asked for. */
  scores: boolean;
}

/** One abnormal point. Repeat it for every point while the episode lasts. */
export interface Observation {
  series: number;
  time: number;
  kind: Kind;
  rising: boolean;
  /** How abnormal, 0 to 1; 0.5 is where the detector would alert by itself. */
  score: number;
  /** How much the detector trusts its own model of this series, 0 to 1. */
  confidence: number;
  value: number;
  expected: number;
  lower: number;
  upper: number;
  reason: string;
  extra?: Pairs;
}

/** One entry for each point of the batch. */
export interface Scores {
  score: Float32Array | number[];
  confidence: Float32Array | number[];
  expected: Float64Array | number[];
  lower: Float64Array | number[];
  upper: Float64Array | number[];
}

export interface Output {
  observations?: Observation[];
  scores?: Scores | null;
}

export interface State {
  /** The author's own number of the layout of `bytes`. */
  format: number;
  bytes: Uint8Array;
}

/** A detector. One instance lives long and owns a shard of series. */
export interface Detector {
  /** Takes a batch: first `removed`, then `added`, then the points. It may be empty. */
  observe(batch: Batch): Output | Observation[] | void;
  /** All that must survive a restart. The host calls it every minute. */
  snapshot?(): State;
  /** Takes over a snapshot in place of a cold start; series ids are new afterwards (see `SeriesTable`). */
  restore?(state: State): void;
}

export function defineDetector<P = Record<string, any>>(detector: new (parameters: P) => Detector): Plugin<"detector">;
/** Series with new points, in the order of the columns; `to` is not included. */
export function bySeries(batch: Pick<Batch, "series" | "offsets">): { series: number; from: number; to: number }[];
/** Columns for so many points, of score 0 and nothing known. */
export function zeroScores(points: number): {
  score: Float32Array;
  confidence: Float32Array;
  expected: Float64Array;
  lower: Float64Array;
  upper: Float64Array;
};

/** States by series id; after a restart they find their series by identity. */
export class SeriesTable<T> {
  update(batch: Pick<Batch, "added" | "removed" | "now">, create: (series: Series) => T, adopt?: (series: Series, state: T) => void): void;
  get(id: number): T | undefined;
  entries(): IterableIterator<[number, T]>;
  readonly size: number;
  write(writer: Writer, put: (writer: Writer, state: T) => unknown): void;
  read(reader: Reader, take: (reader: Reader) => T): void;
}
/** How long restored states wait for their series. */
export const WAIT_NS: number;
export function identity(series: Pick<Series, "name" | "unit" | "attributes">): string;

/** Writes a snapshot: little-endian numbers and texts. */
export class Writer {
  u8(value: number): this;
  u32(value: number): this;
  u64(value: number | bigint): this;
  f64(value: number): this;
  text(value: string): this;
  bytes(): Uint8Array;
}
/** Reads a snapshot; throws `Failure` if it ends too early. */
export class Reader {
  constructor(bytes: Uint8Array);
  readonly remaining: number;
  u8(): number;
  u32(): number;
  u64(): bigint;
  f64(): number;
  /** Must be finite. */
  finite(): number;
  text(): string;
}

// --- What the host gives ---

/** The host's log. `console` writes here, too. */
export namespace log {
  function write(level: "debug" | "info" | "warn" | "error", message: string, fields?: Pairs): void;
  function debug(message: string, fields?: Pairs): void;
  function info(message: string, fields?: Pairs): void;
  function warn(message: string, fields?: Pairs): void;
  function error(message: string, fields?: Pairs): void;
}

/** Virtual and recorded time, for agents and actions. `Date` goes by it, too. */
export namespace clock {
  /** Unix nanoseconds. */
  function now(): number;
  /** Unix milliseconds. */
  function nowMs(): number;
  /** Waits. Counts against the call's wall-clock limit, not against its CPU limit. */
  function sleep(durationMs: number): void;
  /** Asks `probe` every `pauseMs` until it answers something but `undefined`, for at most `timeoutMs`. */
  function poll<T>(timeoutMs: number, pauseMs: number, probe: () => T | undefined): T | undefined;
}

/** Read access to what the host has seen, for agents and actions. Every answer is bounded. */
export namespace telemetry {
  interface Window {
    from: number;
    /** Not included. */
    to: number;
  }
  interface ServiceStats {
    service: string;
    requestsPerSecond: number;
    errorRatio: number;
    durationMeanMs: number;
    durationP95Ms: number;
    lastSeen: number;
  }
  interface EdgeStats {
    caller: string;
    callee: string;
    requestsPerSecond: number;
    errorRatio: number;
    durationMeanMs: number;
  }
  interface Change {
    time: number;
    service: string | null;
    target: string | null;
    kind: string;
    what: string;
    before: string | null;
    after: string | null;
    author: string;
  }
  interface SeriesInfo {
    id: number;
    name: string;
    unit: string;
    service: string;
    limit: number | null;
    attributes: Attributes;
  }
  function window(from: number, to: number): Window;
  /** At most 1,000, by name. */
  function services(window: Window): ServiceStats[];
  /** At most 5,000, by caller and callee. */
  function edges(window: Window): EdgeStats[];
  /** Newest first, at most 100. */
  function changes(window: Window): Change[];
  /** Series of a service (empty: of all) whose name begins so, at most 200. */
  function find(service: string, namePrefix: string): SeriesInfo[];
  /** Oldest first, at most 2,000 (the newest ones). */
  function points(series: number, window: Window): { time: number; value: number }[];
}

// --- Text ---

/** UTF-8 of a text. `TextEncoder` does the same. */
export function encodeUtf8(text: string): Uint8Array;
/** Text of UTF-8; what is none becomes U+FFFD, or throws if `fatal`. */
export function decodeUtf8(bytes: Uint8Array, options?: { fatal?: boolean; ignoreBOM?: boolean }): string;
export function toHex(bytes: Uint8Array): string;
/** Base64 with padding; text as UTF-8. */
export function toBase64(body: string | Uint8Array): string;
export function fromBase64(text: string): Uint8Array;
/** One part of a URL's path, percent-encoded. */
export function encodePathSegment(text: string): string;
/** The query of a URL, without `?`. */
export function encodeQuery(query: Pairs): string;
export function sha256(bytes: Uint8Array): Uint8Array;
/** Numbers from 0 to 1 that are the same for the same seed. `Math.random` is seeded by the call. */
export function seededRandom(seed: string): () => number;
