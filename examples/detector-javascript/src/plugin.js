// @ts-check
// Observes bursts in series that count events: errors, restarts, new label values in an interval.
//
// Counts are no normal numbers: the more there are, the more they scatter. Anscombe's transform x -> 2 sqrt(x + 3/8) makes the
// scatter of a Poisson count about 1, whatever its mean (F. J. Anscombe, Biometrika 35 (1948) 246-254). What is usual is then
// the median of the window, and its spread the median absolute deviation, but at least that 1: neither is moved by bursts.
//
// What always holds:
// - a point costs a binary search and one move within a sorted window: O(window_points) bytes moved, no sort; one that may be a
//   burst costs another search
// - a burst enters the window only as the highest count that is still usual, so that it does not become usual while it lasts,
//   and a new level that stays becomes usual after about half a window
// - until the window is a quarter full nothing is said
//
// Not here: rates of single events (their count must be in the series), drops (`absence`).

import { FLAG_AFTER_GAP, Failure, Reader, SeriesTable, Writer, defineDetector, zeroScores } from "salve-plugin";

/** Layout of snapshots. */
const FORMAT = 1;
/** From median absolute deviation to standard deviation, for normally distributed values. */
const MAD_TO_DEVIATION = 1.4826;
/** Standard deviation of a transformed Poisson count. */
const POISSON_DEVIATION = 1;

/** @param {number} count */
const transformed = (count) => 2 * Math.sqrt((count > 0 ? count : 0) + 0.375);
/** @param {number} value */
const counted = (value) => Math.max(0, (value / 2) ** 2 - 0.375);

/** The newest transformed counts, by age and by size. */
class Window {
  /** @param {number} size */
  constructor(size) {
    this.size = size;
    /** How many there are. */
    this.known = 0;
    this.byAge = new Float64Array(size);
    this.sorted = new Float64Array(size);
    /** Index of the oldest, once the window is full. */
    this.oldest = 0;
  }
  /**
   * The first index from `low` to `high` whose value is not below.
   * @param {number} value
   * @param {number} low
   * @param {number} high
   */
  #place(value, low, high) {
    const { sorted } = this;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  /** @param {number} value */
  push(value) {
    const { byAge, sorted, known, size } = this;
    if (known < size) {
      const to = this.#place(value, 0, known);
      sorted.copyWithin(to + 1, to, known);
      sorted[to] = value;
      byAge[this.known++] = value;
      return;
    }
    // The oldest leaves its place; what lies between moves up by one. Counts are few different ones: often nothing moves.
    const gone = byAge[this.oldest];
    byAge[this.oldest] = value;
    this.oldest = this.oldest + 1 < size ? this.oldest + 1 : 0;
    if (value === gone) return;
    const from = sorted.indexOf(gone);
    if (value > gone) {
      const to = this.#place(value, from + 1, size) - 1;
      sorted.copyWithin(from, from + 1, to + 1);
      sorted[to] = value;
    } else {
      const to = this.#place(value, 0, from);
      sorted.copyWithin(to + 1, to, from);
      sorted[to] = value;
    }
  }
  median() {
    return this.sorted[this.known >> 1];
  }
  /**
   * The median distance from the median. To both sides of the middle distances only rise, so a binary search finds how many of
   * the nearer half lie to the right.
   */
  deviation() {
    const { sorted, known } = this;
    const half = known >> 1;
    const middle = sorted[half];
    const nearest = half + 1;
    let low = 1;
    let high = Math.min(nearest, known - half);
    while (low < high) {
      const right = (low + high) >> 1;
      if (sorted[half + right] - middle < middle - sorted[half - nearest + right]) low = right + 1;
      else high = right;
    }
    const left = low === nearest ? 0 : middle - sorted[half - nearest + low];
    return Math.max(sorted[half + low - 1] - middle, left);
  }
  /** Oldest first. */
  *values() {
    for (let index = 0; index < this.known; index++) yield this.byAge[(this.oldest + index) % this.known];
  }
}

class ErrorBurst {
  /** @type {SeriesTable<Window>} */
  #series = new SeriesTable();

  /** @param {{ window_points?: number, deviations?: number, count_min?: number }} parameters See `plugin.toml`. */
  constructor({ window_points = 60, deviations = 5, count_min = 5 }) {
    this.windowPoints = window_points;
    this.deviations = deviations;
    this.countMin = count_min;
  }

  /** @param {import("salve-plugin").Batch} batch */
  observe(batch) {
    this.#series.update(batch, () => new Window(this.windowPoints));
    const observations = [];
    const scores = batch.scores ? zeroScores(batch.values.length) : null;
    // Columns as they come: `bySeries` is handier, and makes an object for each series.
    const { series, offsets, times, values, pointFlags } = batch;
    for (let index = 0; index < series.length; index++) {
      const window = this.#series.get(series[index]);
      if (window === undefined) continue;
      for (let at = offsets[index]; at < offsets[index + 1]; at++) {
        const value = values[at];
        const seen = this.#look(window, value, (pointFlags[at] & FLAG_AFTER_GAP) !== 0, scores !== null);
        if (seen === null) continue;
        const { burst, score, confidence, expected, upper } = seen;
        if (scores !== null) {
          scores.score[at] = score;
          scores.confidence[at] = confidence;
          scores.expected[at] = expected;
          scores.lower[at] = 0;
          scores.upper[at] = upper;
        }
        if (!burst) continue;
        observations.push({
          series: series[index],
          time: times[at],
          kind: /** @type {const} */ ("point"),
          rising: true,
          score,
          confidence,
          value,
          expected,
          lower: 0,
          upper,
          reason: `${value.toPrecision(4)} where ${expected.toPrecision(3)} is usual and ${upper.toPrecision(3)} still is`,
        });
      }
    }
    return { observations, scores };
  }

  /**
   * Compares a count with the window and adds it; null while too little is known, and where nobody asks about what is usual.
   * @param {Window} window
   * @param {number} value
   * @param {boolean} afterGap
   * @param {boolean} scored
   */
  #look(window, value, afterGap, scored) {
    const { known } = window;
    const mark = transformed(value);
    // The first count after a gap may be that of the whole gap.
    if (known * 4 < this.windowPoints || afterGap) {
      if (!afterGap) window.push(mark);
      return null;
    }
    const usual = window.median();
    // No bound is nearer than this, so most counts need no deviation.
    if (!scored && mark <= usual + this.deviations * POISSON_DEVIATION) {
      window.push(mark);
      return null;
    }
    const deviation = Math.max(POISSON_DEVIATION, MAD_TO_DEVIATION * window.deviation());
    const bound = usual + this.deviations * deviation;
    const away = Math.max(0, (mark - usual) / deviation);
    window.push(Math.min(mark, bound));
    return {
      burst: mark > bound && value >= this.countMin,
      // 0.5 at the bound, towards 1 above it.
      score: away / (away + this.deviations),
      confidence: Math.min(1, known / this.windowPoints),
      expected: counted(usual),
      upper: Math.max(counted(bound), this.countMin),
    };
  }

  snapshot() {
    const writer = new Writer();
    this.#series.write(writer, (to, window) => {
      to.u32(window.known);
      for (const value of window.values()) to.f64(value);
    });
    return { format: FORMAT, bytes: writer.bytes() };
  }

  /** @param {import("salve-plugin").State} state */
  restore({ format, bytes }) {
    if (format !== FORMAT) throw Failure.invalid(`the snapshot has layout ${format}; this version reads ${FORMAT}`);
    this.#series.read(new Reader(bytes), (from) => {
      const window = new Window(this.windowPoints);
      for (let left = from.u32(); left > 0; left--) window.push(from.finite());
      return window;
    });
  }
}

export default defineDetector(ErrorBurst);
