// What a component begins with. `salve plugin build` writes a module that calls this; authors do not.

import { trapBy } from "./call.js";
import { forEngine } from "./check.js";
import { install } from "./guards.js";
import { connect } from "./host.js";
import { prepare } from "./prepare.js";

/** Connects the real host and replaces what the engine lacks, before the author's modules are loaded. */
export function begin(host) {
  connect(host);
  forEngine();
  // The engine's own clock, which is not there: it traps.
  trapBy(Date.now);
  install({ all: true });
}

/** The contract's interface of the author's plugin. */
export function exported(plugin, role, name) {
  if (plugin?.role === role) {
    prepare(role);
    return plugin[name];
  }
  const maker = `define${role[0].toUpperCase()}${role.slice(1)}`;
  throw new TypeError(
    plugin?.role
      ? `plugin.toml says \`role = "${role}"\`, the module exports a plugin of role ${plugin.role}`
      : `the module's default export is no plugin; write \`export default ${maker}(…)\``,
  );
}
