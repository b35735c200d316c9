// Bytes of detector snapshots: little-endian numbers and texts, one after the other.

import { Failure } from "./failure.js";
import { decodeUtf8, encodeUtf8 } from "./text.js";

/** Writes a snapshot. */
export class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  #grow(more) {
    const at = this.#length;
    this.#length += more;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
  u8(value) {
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
    return this;
  }
  u32(value) {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
    return this;
  }
  /** A Number or BigInt from 0. */
  u64(value) {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt(value), true);
    return this;
  }
  f64(value) {
    const at = this.#grow(8);
    this.#view.setFloat64(at, value, true);
    return this;
  }
  text(value) {
    const bytes = encodeUtf8(value);
    this.u32(bytes.length);
    // First: growing replaces the bytes.
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }
  /** The bytes written so far. */
  bytes() {
    return this.#bytes.slice(0, this.#length);
  }
}

/** Reads a snapshot. Bytes may come from a broken disk, so every read can throw a `Failure`. */
export class Reader {
  #bytes;
  #view;
  #at = 0;
  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  #take(count) {
    const at = this.#at;
    if (count > this.remaining) throw Failure.invalid("the snapshot ends too early");
    this.#at += count;
    return at;
  }
  /** Bytes not yet read. */
  get remaining() {
    return this.#bytes.length - this.#at;
  }
  u8() {
    return this.#view.getUint8(this.#take(1));
  }
  u32() {
    return this.#view.getUint32(this.#take(4), true);
  }
  /** As BigInt. */
  u64() {
    return this.#view.getBigUint64(this.#take(8), true);
  }
  f64() {
    return this.#view.getFloat64(this.#take(8), true);
  }
  /** The next number, which must be finite. */
  finite() {
    const value = this.f64();
    if (!Number.isFinite(value)) throw Failure.invalid("the snapshot holds a number that is not finite");
    return value;
  }
  text() {
    const length = this.u32();
    const at = this.#take(length);
    return decodeUtf8(this.#bytes.subarray(at, at + length));
  }
}
