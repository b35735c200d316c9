// Checks of what a plugin gives to the host: the engine ends a component without a word if a type does not fit, so it is
// said here, with the path of the value: `path`, and of a field its name, which are put together only for who reads them.

const fail = (path, name, wanted, value) => {
  let shown = typeof value;
  if (value === null || value === undefined || typeof value === "number" || typeof value === "boolean") shown = String(value);
  else if (typeof value === "string") shown = JSON.stringify(value.slice(0, 40));
  else if (typeof value.then === "function") shown = "a Promise (calls to the host need no `await`; leave out `async`)";
  throw new TypeError(`${name === undefined ? path : `${path}.${name}`} must be ${wanted}, it is ${shown}`);
};

export function text(value, path, name) {
  if (typeof value !== "string") fail(path, name, "a text", value);
  return value.toWellFormed();
}

export const optionalText = (value, path, name) =>
  value === null || value === undefined ? null : text(value, path, name);

export function number(value, path, name) {
  if (typeof value !== "number") fail(path, name, "a number", value);
  return value;
}

export const optionalNumber = (value, path, name) =>
  value === null || value === undefined ? null : number(value, path, name);

export function boolean(value, path, name) {
  if (typeof value !== "boolean") fail(path, name, "true or false", value);
  return value;
}

/** 2^64: the engine makes 2^64 - 1 of it, which is no double. */
const U64_END = 18446744073709551616;

let signed32 = (value) => value;

/** From now on values are made for the engine, which takes 32 bits with or without sign only as signed ones. */
export function forEngine() {
  signed32 = (value) => value | 0;
}

/** A whole number of at most 64 bits; BigInt is taken too. */
export function whole(value, path, name, most = U64_END) {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isInteger(number) || number < 0) fail(path, name, "a whole number from 0", value);
  if (number > most) fail(path, name, `a whole number up to ${most}`, value);
  return number;
}

export const whole32 = (value, path, name) => signed32(whole(value, path, name, 0xffffffff));

/** A column of numbers, as the engine copies it at once. */
export function column(value, path, Column) {
  if (value instanceof Column) return value;
  return Column.from(list(value, path, number));
}

export function list(value, path, each) {
  if (!Array.isArray(value) && !ArrayBuffer.isView(value)) fail(path, undefined, "a list", value);
  if (value.length === 0) return [];
  const checked = new Array(value.length);
  for (let index = 0; index < value.length; index++) checked[index] = each(value[index], `${path}[${index}]`);
  return checked;
}

/** Pairs of text, of an object or of a list of pairs. */
export function attributes(value, path, name) {
  if (value === undefined || value === null) return [];
  if (typeof value !== "object") fail(path, name, "an object or a list of pairs", value);
  const entries = Array.isArray(value) ? value : value instanceof Map ? [...value] : Object.entries(value);
  const at = name === undefined ? path : `${path}.${name}`;
  return entries.map(([key, content]) => [text(key, `${at}: a name`), text(String(content), at, key)]);
}

export function record(value, path) {
  if (value === null || typeof value !== "object" || typeof value.then === "function") fail(path, undefined, "an object", value);
  return value;
}

export function oneOf(value, path, name, names) {
  if (!names.includes(value)) fail(path, name, `one of ${names.join(", ")}`, value);
  return value;
}

export function bytes(value, path) {
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return Uint8Array.from(value);
  return fail(path, undefined, "a Uint8Array", value);
}
