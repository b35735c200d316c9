// What an author throws, and what calls to the host throw.

/** Why a plugin does not do what it was asked. Throw it; anything else that is thrown counts as a fault of the plugin. */
export class Failure extends Error {
  constructor(kind, message) {
    super(message);
    this.name = "Failure";
    this.kind = kind;
  }
  static notApplicable(message) {
    return new Failure("not-applicable", message);
  }
  static invalid(message) {
    return new Failure("invalid", message);
  }
  static failed(message) {
    return new Failure("failed", message);
  }
}

/** Why the host refused a call, or why it failed. */
export class CallError extends Error {
  constructor(kind, detail = null, denied = null) {
    super(explain(kind, detail, denied));
    this.name = "CallError";
    this.kind = kind;
    this.detail = detail;
    this.denied = denied;
  }
  /** As the contract has it: a variant. */
  static fromVariant({ tag, val }) {
    if (tag === "denied") return new CallError(tag, val.val ?? null, val.tag);
    return new CallError(tag, val ?? null);
  }
  /** For scripted hosts. */
  toVariant() {
    if (this.kind === "denied") {
      return { tag: this.kind, val: this.detail === null ? { tag: this.denied } : { tag: this.denied, val: this.detail } };
    }
    return this.detail === null ? { tag: this.kind } : { tag: this.kind, val: this.detail };
  }
  /** What an action ends with if it does not catch this. */
  toFailure() {
    return this.kind === "not-found" ? Failure.notApplicable(this.message) : Failure.failed(this.message);
  }
}

function explain(kind, detail, denied) {
  switch (kind) {
    case "not-found":
      return `not found: ${detail}`;
    case "failed":
      return `failed: ${detail}`;
    case "timed-out":
      return "no answer in time, it may or may not have happened";
  }
  switch (denied) {
    case "not-granted":
      return `not granted; this would allow it: ${detail}`;
    case "not-in-plan":
      return `not in the approved plan (${detail})`;
    case "not-recorded":
      return "not in the recording";
    case "state-changed":
      return `the target has changed since the plan: now ${detail}`;
    case "kill-switch":
      return "Salve is paused";
    default:
      return `limit used up: ${detail}`;
  }
}

/** Makes a call to the host; its error variant becomes a `CallError`. */
export function guarded(call) {
  try {
    return call();
  } catch (error) {
    const variant = error?.payload;
    throw variant !== null && typeof variant === "object" && "tag" in variant ? CallError.fromVariant(variant) : error;
  }
}
