"""Observes points that lie far from their own past and from their peers.

A point is compared with the median of the last points of its series, in units of their median absolute deviation (the Hampel
identifier: F. R. Hampel, "The Influence Curve and Its Role in Robust Estimation", JASA 69 (1974) 383-393). Up to half of the window
may be abnormal without moving either. A point that is abnormal so, but moved as its peers of the group did, is what they share: load,
a deployment, the time of day. It is not observed.

What always holds:

- a point costs two binary searches, one move within a sorted window, and O(log n) steps for the deviation; a group costs one sort of
  its moves a batch
- a median or deviation is never of fewer than a quarter of the window's points
- the first point after a gap is compared, but a run of abnormal points ends there

Not here: trends towards a limit (``saturation``), seasons (``holt-winters``), points that do not come (``absence``).
"""

from bisect import bisect_left, insort
from collections import deque

from salve_plugin import (
    FLAG_AFTER_GAP,
    Detector,
    Invalid,
    Kind,
    Observation,
    Output,
    Reader,
    Scores,
    SeriesTable,
    State,
    Writer,
    plugin,
)

#: Layout of snapshots.
FORMAT = 1
#: From median absolute deviation to standard deviation, for normally distributed values.
MAD_TO_DEVIATION = 1.4826


def deviation_of(ordered, middle):
    """The median distance from ``middle`` within a sorted list, without making the distances.

    Left of the middle the distances fall from left to right, right of it they rise: two sorted lists, whose common median is found by
    binary search for how many of the nearest come from the right.
    """
    split = bisect_left(ordered, middle)
    lefts, rights = split, len(ordered) - split
    wanted = (len(ordered) + 1) // 2
    low, high = max(0, wanted - lefts), min(wanted, rights)
    while low < high:
        from_right = (low + high) // 2
        from_left = wanted - from_right
        # Too few from the right: the next one there is nearer than the last one taken from the left.
        if ordered[split + from_right] - middle < middle - ordered[split - from_left]:
            low = from_right + 1
        else:
            high = from_right
    from_left = wanted - low
    right = ordered[split + low - 1] - middle if low else 0.0
    left = middle - ordered[split - from_left] if from_left else 0.0
    return max(left, right)


def median_of(ordered):
    """The lower median of a sorted list."""
    return ordered[(len(ordered) - 1) // 2]


class Past:
    """The last points of a series, by age and by size."""

    __slots__ = ("by_age", "ordered", "group", "run")

    def __init__(self, group):
        self.by_age = deque()
        self.ordered = []
        self.group = group
        #: Abnormal points in a row; negative below the median.
        self.run = 0

    def push(self, value, size):
        if len(self.by_age) >= size:
            del self.ordered[bisect_left(self.ordered, self.by_age.popleft())]
        self.by_age.append(value)
        insort(self.ordered, value)


class Look:
    """A point and what it is compared with."""

    __slots__ = ("series", "index", "value", "expected", "deviation", "away", "known", "after_gap")

    def __init__(self, series, index, value, expected, deviation, known, after_gap):
        self.series = series
        self.index = index
        self.value = value
        self.expected = expected
        self.deviation = deviation
        self.away = (value - expected) / deviation
        self.known = known
        self.after_gap = after_gap


@plugin
class RobustPeers(Detector):
    def __init__(self, parameters):
        self.window_points = parameters.get("window_points", 60)
        self.deviations = float(parameters.get("deviations", 6))
        self.scatter_min = float(parameters.get("scatter_min", 0.02))
        self.peers_min = parameters.get("peers_min", 4)
        self.shift_points = parameters.get("shift_points", 15)
        self.table = SeriesTable()

    def observe(self, batch):
        self.table.update(batch, lambda series: Past(series.group), self.adopt)
        looks = []
        for series, points in batch.by_series():
            past = self.table.get(series)
            if past is None:
                continue
            for index in points:
                look = self.look(series, past, index, batch.values[index], batch.point_flags[index])
                if look is not None:
                    looks.append((past, look))
        shared = self.shared_moves(looks)
        scores = Scores.zero(len(batch.values)) if batch.scores else None
        observations = []
        for past, look in looks:
            peers = shared.get(past.group)
            observation = self.judge(past, look, peers, batch.times[look.index])
            if observation is not None:
                observations.append(observation)
            if scores is not None:
                self.fill(scores, look, peers)
        return Output(observations, scores)

    @staticmethod
    def adopt(series, past):
        past.group = series.group

    def look(self, series, past, index, value, flags):
        """Compares a point with the past of its series, and adds it. None while too little is known."""
        known = len(past.ordered)
        found = None
        if known * 4 >= self.window_points:
            expected = median_of(past.ordered)
            scatter = MAD_TO_DEVIATION * deviation_of(past.ordered, expected)
            # A series that was 0 all the time has no size of its own.
            deviation = max(scatter, self.scatter_min * abs(expected)) or self.scatter_min
            found = Look(series, index, value, expected, deviation, known, bool(flags & FLAG_AFTER_GAP))
        past.push(value, self.window_points)
        return found

    def shared_moves(self, looks):
        """Of each group with enough series in this batch: the median of how far they moved, and the scatter of that."""
        if len(looks) <= self.peers_min:
            return {}
        moves = {}
        for past, look in looks:
            moves.setdefault(past.group, {}).setdefault(look.series, look.away)
        shared = {}
        for group, by_series in moves.items():
            if len(by_series) > self.peers_min:
                ordered = sorted(by_series.values())
                middle = median_of(ordered)
                shared[group] = (middle, max(1.0, MAD_TO_DEVIATION * deviation_of(ordered, middle)))
        return shared

    def strength(self, look, peers):
        """How many deviations a point is away, from its past or from its peers, whichever is less."""
        own = abs(look.away)
        if peers is None:
            return own
        middle, scatter = peers
        return min(own, abs(look.away - middle) / scatter)

    def judge(self, past, look, peers, time):
        # Peers only make it weaker: most points need no look at them.
        strength = abs(look.away)
        if strength > self.deviations:
            strength = self.strength(look, peers)
        if strength <= self.deviations:
            past.run = 0
            return None
        side = 1 if look.away > 0 else -1
        past.run = past.run + side if past.run * side > 0 and not look.after_gap else side
        kind = Kind.LEVEL_SHIFT if abs(past.run) >= self.shift_points else Kind.POINT
        reach = self.deviations * look.deviation
        reason = f"{look.value:.4g} is {abs(look.away):.1f} robust deviations from its median {look.expected:.4g}"
        if peers is not None:
            reason += f", its peers moved by {peers[0]:.1f}"
        return Observation(
            look.series,
            time,
            kind,
            look.away > 0,
            strength / (strength + self.deviations),
            min(1.0, look.known / self.window_points),
            look.value,
            look.expected,
            look.expected - reach,
            look.expected + reach,
            reason,
        )

    def fill(self, scores, look, peers):
        strength = self.strength(look, peers)
        reach = self.deviations * look.deviation
        scores.score[look.index] = strength / (strength + self.deviations)
        scores.confidence[look.index] = min(1.0, look.known / self.window_points)
        scores.expected[look.index] = look.expected
        scores.lower[look.index] = look.expected - reach
        scores.upper[look.index] = look.expected + reach

    def snapshot(self):
        writer = Writer()

        def put(to, past):
            to.u32(past.group).f64(past.run).u32(len(past.by_age))
            for value in past.by_age:
                to.f64(value)

        self.table.write(writer, put)
        return State(FORMAT, writer.bytes())

    def restore(self, state):
        if state.format != FORMAT:
            raise Invalid(f"the snapshot has layout {state.format}; this version reads {FORMAT}")

        def take(reader):
            past = Past(reader.u32())
            past.run = int(reader.finite())
            for _ in range(reader.u32()):
                past.push(reader.finite(), self.window_points)
            return past

        self.table.read(Reader(state.bytes), take)
