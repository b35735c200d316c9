// The host's interfaces as this plugin's world has them. A component brings the real ones, a test scripted ones.
// They are there during a call and at no other time: while a component is built there is no host.

let interfaces = null;
let inCall = false;

/** Brings the host's interfaces; gives back those before. */
export function connect(host) {
  const before = interfaces;
  interfaces = host;
  return before;
}

/** Begins a call of the plugin, within which the host can be reached; gives back what `leave` must be given. */
export function enter() {
  const before = inCall;
  inCall = true;
  return before;
}

/** Ends a call of the plugin. */
export function leave(before) {
  inCall = before;
}

/** Whether an interface can be called now. */
export const has = (name) => inCall && interfaces !== null && interfaces[name] !== undefined;

/** An interface of the host, or an error that says why it is not there. */
export function hostInterface(name) {
  if (has(name)) return interfaces[name];
  if (interfaces === null) {
    throw new Error(`\`${name}\` was called without a host; in tests, run the plugin through \`salve-plugin/testing\``);
  }
  if (!inCall) {
    throw new Error(`\`${name}\` was called while the module was loaded; call it within plan, execute, undo, consult or observe`);
  }
  throw new Error(
    name === "clock" || name === "telemetry"
      ? `a detector has no \`${name}\`; use what the batch says, such as \`batch.now\``
      : `this plugin has no \`${name}\`; name the capability in plugin.toml`,
  );
}
