// Read access to what the host has seen, for agents and actions. Every answer is bounded, as the contract says.

import { whole, whole32 } from "./check.js";
import { hostInterface } from "./host.js";
import * as received from "./received.js";

const host = () => hostInterface("telemetry");
const checked = ({ from, to }) => ({ from: whole(from, "window.from"), to: whole(to, "window.to") });

/** A window, Unix nanoseconds, the end not included. */
export const window = (from, to) => ({ from, to });
export const services = (window) => host().services(checked(window)).map(received.serviceStats);
export const edges = (window) => host().edges(checked(window));
export const changes = (window) => host().changes(checked(window)).map(received.change);
export const find = (service, namePrefix) =>
  host().find(service, namePrefix).map(received.seriesInfo);
export const points = (series, window) => host().points(whole32(series, "series"), checked(window)).map(received.point);
