// What is made ready while a component is built, so that its calls find it: every call of an action or agent begins with the memory
// that the build leaves.
//
// - The engine makes its own functions when they are first looked at.
// - It knows the form of an object, its names in their order, only while there is an object of that form; else it works the form out
//   anew, name by name.

/** Names of the records that calls are made of, as the engine and this package put them into objects. */
const FORMS = {
  every: [["tag", "val"]],
  detector: [
    ["sequence", "now", "added", "removed", "series", "offsets", "times", "values", "pointFlags", "scores"],
    ["observations", "scores"],
  ],
  agent: [
    ["id", "started", "now", "symptoms", "targets", "catalogue"],
    ["service", "signal", "attributes", "kind", "rising", "since", "score", "value", "expected", "reason"],
    ["id", "attributes"],
    ["from", "to"],
    ["service", "requestsPerSecond", "errorRatio", "durationMeanMs", "durationP95Ms", "lastSeen"],
    ["caller", "callee", "requestsPerSecond", "errorRatio", "durationMeanMs"],
    ["suspect", "mechanism", "probability", "evidence", "extra"],
    ["text", "reference", "weight"],
    ["hypotheses", "suggestions", "text", "extra"],
  ],
  action: [
    ["incident", "targets", "parameters", "started", "now"],
    ["id", "attributes"],
    ["capability", "verb", "target", "arguments", "before", "after", "inverse"],
    ["summary", "steps", "expect", "extra"],
    ["pid", "started", "state", "rssBytes", "cpuSeconds", "lastExit"],
    ["target", "method", "path", "query", "headers", "body", "idempotencyKey"],
    ["status", "headers", "body"],
    ["call", "step", "target", "verb", "applied", "before", "after", "extra"],
    ["done", "note", "extra"],
  ],
};

/** Objects that keep their forms known. */
const kept = [];

/** Looks at everything that can be reached from some objects. */
function lookAt(...objects) {
  // What is added while a set is gone through comes, too.
  const seen = new Set(objects);
  const meet = (value) => {
    if (value !== null && (typeof value === "object" || typeof value === "function")) seen.add(value);
  };
  for (const object of seen) {
    meet(Object.getPrototypeOf(object));
    for (const key of Reflect.ownKeys(object)) {
      const { value, get, set } = Reflect.getOwnPropertyDescriptor(object, key);
      [value, get, set].forEach(meet);
    }
  }
}

/** Prepares the calls of a role. */
export function prepare(role) {
  lookAt(globalThis, [].values());
  for (const names of [...FORMS.every, ...FORMS[role]]) {
    const form = {};
    for (const name of names) {
      form[name] = null;
      kept.push({ ...form });
    }
  }
}
