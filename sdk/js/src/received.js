// Values as the engine gives them, made what the contract means: it hands over numbers of 32 and 64 bits as signed ones, and
// attributes as pairs.

/** A number of 64 bits. */
export const u64 = (value) => (value < 0 ? value + 18446744073709551616 : value);
/** A number of 32 bits. */
export const u32 = (value) => value >>> 0;

/** The list as it is, or with its numbers converted if one of them has a sign: most lists have none. */
function unsigned(list, convert) {
  for (let left = list.length; left-- > 0; ) if (list[left] < 0) return list.map(convert);
  return list;
}
export const u64s = (list) => unsigned(list, u64);
export const u32s = (list) => unsigned(list, u32);

const optional = (value, convert) => (value === null || value === undefined ? null : convert(value));
export const attributes = (list) => Object.fromEntries(list);
export const target = ({ id, attributes: list }) => ({ id, attributes: attributes(list) });

// Fields that every short call meets are named: copying an object's fields by `...` takes the interpreter longer.
export const receipt = (raw) => ({
  call: u64(raw.call),
  step: u32(raw.step),
  target: raw.target,
  verb: raw.verb,
  applied: raw.applied,
  before: raw.before,
  after: raw.after,
  extra: attributes(raw.extra),
});
export const processStatus = (raw) => ({
  pid: optional(raw.pid, u32),
  started: optional(raw.started, u64),
  state: raw.state,
  rssBytes: u64(raw.rssBytes),
  cpuSeconds: raw.cpuSeconds,
  lastExit: raw.lastExit,
});
export const version = (raw) => ({ ...raw, since: u64(raw.since) });
export const serviceStats = (raw) => ({ ...raw, lastSeen: u64(raw.lastSeen) });
export const change = (raw) => ({ ...raw, time: u64(raw.time) });
export const seriesInfo = (raw) => ({ ...raw, id: u32(raw.id), attributes: attributes(raw.attributes) });
export const point = (raw) => ({ ...raw, time: u64(raw.time) });
export const symptom = (raw) => ({ ...raw, since: u64(raw.since), attributes: attributes(raw.attributes) });
export const series = (raw) => ({
  ...raw,
  id: u32(raw.id),
  group: u32(raw.group),
  limit: raw.limit ?? null,
  attributes: attributes(raw.attributes),
});
export const proposal = (raw) => ({
  ...raw,
  expect: raw.expect.map((expectation) => ({
    ...expectation,
    withinMs: u64(expectation.withinMs),
    holdMs: u64(expectation.holdMs),
    samplesMin: u32(expectation.samplesMin),
  })),
  extra: attributes(raw.extra),
});
