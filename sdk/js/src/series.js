// State of many series, found by their dense ids while the instance lives and by identity after a restart.
//
// A restored state waits until its series is added again; those that never come are dropped after an hour of the host's
// time. A snapshot holds live and waiting states, so two restarts in a row lose nothing.

/** How long restored states wait for their series, in nanoseconds. */
export const WAIT_NS = 3_600_000_000_000;

/** Names a series across restarts: its name, unit and attributes in the order of their names, as text. */
export function identity({ name, unit, attributes }) {
  const pairs = Array.isArray(attributes) ? attributes : Object.entries(attributes);
  const sorted = [...pairs].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return JSON.stringify([name, unit, sorted]);
}

const ignored = () => {};

/** States by series id. */
export class SeriesTable {
  #slots = [];
  #waiting = new Map();
  #waitingSince = null;

  /**
   * Takes over the batch's `removed` and then its `added`; `create` makes the state of a series that is not known from a
   * snapshot or from before, `adopt` fits a known state to the series as it is now.
   */
  update(batch, create, adopt = ignored) {
    const { added, removed } = batch;
    // Most batches have neither, and beginning a `for` of nothing costs the engine more than asking.
    if (removed.length > 0) for (const id of removed) this.#slots[id] = undefined;
    if (added.length > 0) for (const series of added) this.#add(series, create, adopt);
    if (this.#waiting.size > 0) {
      this.#waitingSince ??= batch.now;
      if (batch.now - this.#waitingSince > WAIT_NS) this.#waiting.clear();
    }
  }

  #add(series, create, adopt) {
    const name = identity(series);
    const there = this.#slots[series.id];
    // A series is described again when its limit changes: what was learnt of it goes on.
    let state = there?.name === name ? there.state : this.#waiting.get(name);
    this.#waiting.delete(name);
    if (state === undefined) state = create(series);
    else adopt(series, state);
    while (this.#slots.length <= series.id) this.#slots.push(undefined);
    this.#slots[series.id] = { name, state };
  }

  /** The state of a series, if it was added. */
  get(id) {
    return this.#slots[id]?.state;
  }

  /** All live series by id: `[id, state]`. */
  *entries() {
    for (let id = 0; id < this.#slots.length; id++) {
      if (this.#slots[id] !== undefined) yield [id, this.#slots[id].state];
    }
  }

  /** Number of live series. */
  get size() {
    return this.#slots.reduce((count, slot) => count + (slot === undefined ? 0 : 1), 0);
  }

  /** Appends all states with the identities of their series; `put(writer, state)` appends one. */
  write(writer, put) {
    const live = this.#slots.filter((slot) => slot !== undefined).map(({ name, state }) => [name, state]);
    for (const [name, state] of [...live, ...this.#waiting]) {
      writer.text(name);
      put(writer, state);
    }
  }

  /** Takes all states that are left; they wait for their series. If `take(reader)` throws, the table is as it was. */
  read(reader, take) {
    const waiting = new Map();
    while (reader.remaining > 0) waiting.set(reader.text(), take(reader));
    this.#waiting = waiting;
    this.#waitingSince = null;
  }
}
