// Time as the host gives it to agents and actions: virtual and recorded. Detectors go by `batch.now`.

import { whole32 } from "./check.js";
import { hostInterface } from "./host.js";
import { u64 } from "./received.js";

/** Unix nanoseconds as a Number: exact to 256 ns. */
export const now = () => u64(hostInterface("clock").now());

/** Unix milliseconds, as `Date` takes them. */
export const nowMs = () => Math.floor(now() / 1e6);

/** Waits. Counts against the call's wall-clock limit, not against its CPU limit. */
export const sleep = (durationMs) => hostInterface("clock").sleep(whole32(Math.max(0, Math.ceil(durationMs)), "the time to sleep"));

/**
 * Asks `probe` every `pauseMs` until it answers something but `undefined`, for at most `timeoutMs`; then `undefined`.
 * It is asked at least twice unless the first answer settles it.
 */
export function poll(timeoutMs, pauseMs, probe) {
  const deadline = now() + timeoutMs * 1e6;
  for (;;) {
    const answer = probe();
    if (answer !== undefined) return answer;
    if (now() >= deadline) return undefined;
    sleep(Math.max(1, pauseMs));
  }
}
