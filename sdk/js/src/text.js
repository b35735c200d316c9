// Text helpers: the engine has no TextEncoder, TextDecoder, URL or Buffer.
//
// It has base64 and percent-encoding, which are its own code and take a small part of the time of a loop here. Where bytes know
// base64, as they do in the engine, UTF-8 goes that way.

const NATIVE = typeof Uint8Array.fromBase64 === "function" && typeof Uint8Array.prototype.toBase64 === "function";

/** UTF-8 of a text; half a surrogate pair becomes U+FFFD. */
export function encodeUtf8(text) {
  if (NATIVE) return Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(text.toWellFormed()))));
  // Most text is ASCII, and taking it apart by characters costs several times as much.
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit >= 0x80) return encodeAny(text);
    bytes[at] = unit;
  }
  return bytes;
}

function encodeAny(text) {
  const bytes = [];
  for (const character of text) {
    let point = character.codePointAt(0);
    if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd;
    if (point < 0x80) bytes.push(point);
    else if (point < 0x800) bytes.push(0xc0 | (point >> 6), 0x80 | (point & 63));
    else if (point < 0x10000) bytes.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
    else {
      bytes.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 63), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
    }
  }
  return Uint8Array.from(bytes);
}

/** Text of UTF-8; what is none becomes U+FFFD, or throws if `fatal`. A byte order mark is left out. */
export function decodeUtf8(bytes, { fatal = false, ignoreBOM = false } = {}) {
  if (NATIVE) {
    try {
      const text = decodeURIComponent(escape(atob(bytes.toBase64())));
      return !ignoreBOM && text.startsWith("\ufeff") ? text.slice(1) : text;
    } catch {
      // Some of it is no UTF-8.
    }
  }
  const parts = [];
  let units = [];
  let at = !ignoreBOM && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  while (at < bytes.length) {
    const first = bytes[at++];
    let point = first;
    if (first >= 0x80) {
      // Bounds of the second byte keep out overlong forms, surrogates and what is above U+10FFFF (Unicode, table 3-7).
      let more = first >= 0xc2 && first <= 0xdf ? 1 : first >= 0xe0 && first <= 0xef ? 2 : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
      let lower = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      let upper = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      let good = more > 0;
      point = first & (0x3f >> more);
      while (good && more > 0) {
        const byte = bytes[at];
        if (byte === undefined || byte < lower || byte > upper) good = false;
        else {
          point = (point << 6) | (byte & 63);
          at++;
          more--;
          lower = 0x80;
          upper = 0xbf;
        }
      }
      if (!good) {
        if (fatal) throw new TypeError(`the bytes are not UTF-8 at ${at}`);
        point = 0xfffd;
      }
    }
    if (point >= 0x10000) units.push(0xd800 + ((point - 0x10000) >> 10), 0xdc00 + ((point - 0x10000) & 0x3ff));
    else units.push(point);
    if (units.length > 4096) {
      parts.push(String.fromCharCode(...units));
      units = [];
    }
  }
  parts.push(String.fromCharCode(...units));
  return parts.join("");
}

/** Bytes of a text or of bytes. */
export const bytesOf = (body) => (typeof body === "string" ? encodeUtf8(body) : body);

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Lower-case hex. */
export function toHex(bytes) {
  if (NATIVE && bytes instanceof Uint8Array) return bytes.toHex();
  let text = "";
  for (let at = 0; at < bytes.length; at++) text += HEX[bytes[at]];
  return text;
}

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Base64 with padding (RFC 4648); text is encoded as UTF-8. */
export function toBase64(body) {
  const bytes = bytesOf(body);
  if (NATIVE && bytes instanceof Uint8Array) return bytes.toBase64();
  let text = "";
  for (let at = 0; at < bytes.length; at += 3) {
    const bits = (bytes[at] << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    text += BASE64[bits >> 18] + BASE64[(bits >> 12) & 63];
    text += at + 1 < bytes.length ? BASE64[(bits >> 6) & 63] : "=";
    text += at + 2 < bytes.length ? BASE64[bits & 63] : "=";
  }
  return text;
}

/** Bytes of base64 with or without padding; throws on anything else. */
export function fromBase64(text) {
  const digits = text.replace(/={1,2}$/, "");
  const bytes = [];
  let bits = 0;
  let count = 0;
  for (const digit of digits) {
    const value = BASE64.indexOf(digit);
    if (value < 0) throw new TypeError(`\`${digit}\` is not of base64`);
    bits = ((bits << 6) | value) & 0xffff;
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push((bits >> count) & 255);
    }
  }
  if (digits.length % 4 === 1) throw new TypeError("the base64 is cut off");
  return Uint8Array.from(bytes);
}

/** One part of a URL's path, percent-encoded: all but letters, digits and `-._~` (RFC 3986). */
export const encodePathSegment = (text) =>
  encodeURIComponent(text.toWellFormed())
    .replaceAll("!", "%21")
    .replaceAll("'", "%27")
    .replaceAll("(", "%28")
    .replaceAll(")", "%29")
    .replaceAll("*", "%2A");

/** The query of a URL, without `?`. The `http` capability wants pairs and encodes them itself. */
export const encodeQuery = (query) =>
  pairs(query)
    .map(([name, value]) => `${encodePathSegment(name)}=${encodePathSegment(value)}`)
    .join("&");

/** Pairs of an object or of pairs, as text. */
export function pairs(of) {
  if (of === undefined || of === null) return [];
  const list = Array.isArray(of) ? of : of instanceof Map ? [...of] : Object.entries(of);
  return list.map(([name, value]) => [String(name).toWellFormed(), String(value).toWellFormed()]);
}
