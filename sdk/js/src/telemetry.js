// Read access to what the host has seen, for agents and actions. Every answer is bounded, as the contract says.

import { whole, whole32 } from "./check.js";
import { hostInterface } from "./host.js";

const host = () => hostInterface("telemetry");
const attributes = (list) => Object.fromEntries(list);
const checked = ({ from, to }) => ({ from: whole(from, "window.from"), to: whole(to, "window.to") });

/** A window, Unix nanoseconds, the end not included. */
export const window = (from, to) => ({ from, to });
export const services = (window) => host().services(checked(window));
export const edges = (window) => host().edges(checked(window));
export const changes = (window) => host().changes(checked(window));
export const find = (service, namePrefix) =>
  host()
    .find(service, namePrefix)
    .map((info) => ({ ...info, attributes: attributes(info.attributes) }));
export const points = (series, window) => host().points(whole32(series, "series"), checked(window));
