// Values as terms; `sdk/conformance/README.md` says how.

const U64_MAX = 18446744073709551615n;

export const text = (value) => `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
/** 64 bits; a Number may have been rounded up to 2^64. */
export const integer = (value) => {
  const exact = BigInt(value);
  return String(exact > U64_MAX ? U64_MAX : exact);
};
const view = new DataView(new ArrayBuffer(8));
export const double = (value) => {
  view.setFloat64(0, value);
  return view.getBigUint64(0).toString(16).padStart(16, "0");
};
export const record = (...terms) => `{${terms.join(",")}}`;
export const list = (items, term = (item) => item) => `[${Array.from(items, term).join(",")}]`;
export const option = (value, term) => (value === null || value === undefined ? "none" : `some(${term(value)})`);
export const optionalText = (value) => option(value, text);
const pair = ([name, value]) => `(${text(name)},${text(value)})`;
export const pairs = (of) => list(of, pair);
/** By code points, as UTF-8 is ordered; JavaScript compares UTF-16. */
function compare(a, b) {
  const [left, right] = [[...a], [...b]];
  for (let at = 0; at < left.length && at < right.length; at++) {
    const difference = left[at].codePointAt(0) - right[at].codePointAt(0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
export const attributes = (of) => pairs(Object.entries(of).sort(([a], [b]) => compare(a, b)));
const bytes = (of) => `x${Array.from(of, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;

export const target = ({ id, attributes: of }) => record(text(id), attributes(of));
export const targets = (all) => list(all, target);

export const receipt = ({ call, step, target, verb, applied, before, after, extra }) =>
  record(
    integer(call),
    step,
    text(target),
    text(verb),
    applied,
    optionalText(before),
    optionalText(after),
    attributes(Array.isArray(extra) ? Object.fromEntries(extra) : extra),
  );

export const status = ({ pid, started, state, rssBytes, cpuSeconds, lastExit }) =>
  record(option(pid, String), option(started, integer), text(state), integer(rssBytes), double(cpuSeconds), optionalText(lastExit));
export const version = ({ value, since, good }) => record(optionalText(value), integer(since), good);
export const response = ({ status, headers, body }) => record(status, pairs(headers), bytes(body));
export const service = (stats) =>
  record(
    text(stats.service),
    double(stats.requestsPerSecond),
    double(stats.errorRatio),
    double(stats.durationMeanMs),
    double(stats.durationP95Ms),
    integer(stats.lastSeen),
  );
export const edge = (stats) =>
  record(
    text(stats.caller),
    text(stats.callee),
    double(stats.requestsPerSecond),
    double(stats.errorRatio),
    double(stats.durationMeanMs),
  );
export const change = ({ time, service, target, kind, what, before, after, author }) =>
  record(
    integer(time),
    optionalText(service),
    optionalText(target),
    text(kind),
    text(what),
    optionalText(before),
    optionalText(after),
    text(author),
  );
export const series = ({ id, name, unit, service, limit, attributes: of }) =>
  record(id, text(name), text(unit), text(service), option(limit, double), attributes(of));
export const point = ({ time, value }) => record(integer(time), double(value));

export const step = ({ capability, verb, target, arguments: args, before, after, inverse }) =>
  record(text(capability), text(verb), text(target), text(args), optionalText(before), optionalText(after), optionalText(inverse));
export const expectation = ({ service, signal, lower, upper, withinMs, holdMs, samplesMin }) =>
  record(text(service), text(signal), option(lower, double), option(upper, double), integer(withinMs), integer(holdMs), samplesMin);
export const proposal = ({ summary, steps, expect, extra }) =>
  record(text(summary), list(steps, step), list(expect, expectation), attributes(extra));

/** A `CallError`. */
export function callError({ kind, detail, denied }) {
  if (kind !== "denied") return detail === null ? kind : `${kind}(${text(detail)})`;
  return `denied(${detail === null ? denied : `${denied}(${text(detail)})`})`;
}
