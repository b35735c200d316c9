// The host's log. It adds the plugin's name and the incident's id. At most 64 KiB a call; the host counts what is over.

import { has, hostInterface } from "./host.js";
import { pairs } from "./text.js";

export function write(level, message, fields) {
  // While the component is built there is no host to hear it.
  if (!has("log")) return;
  hostInterface("log").write(level, String(message).toWellFormed(), pairs(fields));
}

export const debug = (message, fields) => write("debug", message, fields);
export const info = (message, fields) => write("info", message, fields);
export const warn = (message, fields) => write("warn", message, fields);
export const error = (message, fields) => write("error", message, fields);
