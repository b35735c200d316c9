/** Native tests of plugins: a scripted host that keeps the rules of the real one. */

import type { Attributes, CallError, Findings, Incident, Observation, Outcome, Plugin, Proposal, Receipt, State, Target, process, telemetry } from "./index.js";

/** Unix nanoseconds at which a fake host's clock begins: 2026-01-01. */
export const EPOCH_NS: number;

export interface HttpRequest {
  target: string;
  method: string;
  path: string;
  query: [string, string][];
  headers: [string, string][];
  body: Uint8Array;
  idempotencyKey: string | null;
}
export interface HttpAnswer {
  status: number;
  /** Objects are sent as JSON. */
  body?: string | Uint8Array | object;
  headers?: [string, string][];
}

/** The state of some targets, and what was called on them. Methods that add something give the host back. */
export class FakeHost {
  now: number;
  readonly receipts: Receipt[];
  readonly requests: HttpRequest[];
  readonly messages: { target: string; fields: Attributes }[];
  readonly logs: { level: string; message: string; fields: [string, string][] }[];
  process(target: string, status?: Partial<process.ProcessStatus>): this;
  startDelayMs(delayMs: number): this;
  config(target: string, key: string, value: string | null, good?: boolean): this;
  answer(target: string, path: string, status: number, body?: HttpAnswer["body"], headers?: [string, string][]): this;
  answer(target: string, path: string, answer: (request: HttpRequest & { text: string }) => HttpAnswer): this;
  /** Lets the next call of `capability.verb` fail, for instance `process.restart`. */
  failNext(call: string, error: CallError): this;
  dryRun(): this;
  service(from: number, to: number, stats: Partial<telemetry.ServiceStats> & { service: string }): this;
  edge(from: number, to: number, stats: Partial<telemetry.EdgeStats> & { caller: string; callee: string }): this;
  change(change: Partial<telemetry.Change> & { time: number; what: string }): this;
  series(info: Partial<telemetry.SeriesInfo> & { name: string }, points?: { time: number; value: number }[]): this;
  configValue(target: string, key: string): string | null;
  processNow(target: string): process.ProcessStatus | undefined;
}

/** One request to an action, and the host that it runs on. */
export class ActionTest {
  readonly host: FakeHost;
  constructor(
    action: Plugin<"action">,
    options?: { host?: FakeHost; parameters?: object; targets?: (string | Target)[]; incident?: string },
  );
  plan(): Proposal;
  execute(plan: Proposal): Required<Outcome>;
  undo(plan: Proposal): Required<Outcome>;
}

/** An agent and the host that it asks. */
export class AgentTest {
  readonly host: FakeHost;
  constructor(agent: Plugin<"agent">, host?: FakeHost);
  cause(incident?: Partial<Incident>): Required<Findings>;
}

/** A detector instance and the batches that it is sent, `stepMs` apart. */
export class DetectorTest {
  readonly host: FakeHost;
  now: number;
  stepMs: number;
  constructor(detector: Plugin<"detector">, options?: { parameters?: object; stepMs?: number });
  add(name: string, attributes?: Attributes, options?: { limit?: number | null; unit?: string; group?: number }): number;
  remove(id: number): void;
  push(points?: [number, number][]): Observation[];
  pushColumns(
    points: { series: number; time?: number; value: number; flags?: number }[],
    options?: { scores?: boolean },
  ): { observations: Observation[]; scores: { score: Float32Array; confidence: Float32Array } | null };
  snapshot(): State;
  restartFrom(state: State): void;
}
