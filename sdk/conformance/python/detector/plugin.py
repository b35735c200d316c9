"""The suite's detector; `sdk/conformance/README.md` says how it behaves."""

import math
import struct

from salve_plugin import (
    FLAG_AFTER_GAP,
    Detector,
    Failed,
    Invalid,
    Kind,
    Observation,
    Output,
    Scores,
    State,
    plugin,
)
from suite import terms

FORMAT = 7
DEVIATION_MAX = 1e300


def identity(series):
    return terms.record(terms.text(series.name), terms.text(series.unit), terms.attributes(series.attributes))


def added(series):
    return terms.record(
        str(series.id),
        terms.text(series.name),
        terms.text(series.unit),
        str(series.group),
        terms.option(series.limit, terms.double),
        terms.attributes(series.attributes),
    )


def shown(batch):
    return terms.record(
        str(batch.sequence),
        str(batch.now),
        terms.listed(batch.added, added),
        terms.listed(batch.removed),
        terms.listed(batch.series),
        terms.listed(batch.offsets),
        terms.listed(batch.times),
        terms.listed(batch.values, terms.double),
        terms.listed(batch.point_flags),
        terms.boolean(batch.scores),
    )


class Mean:
    def __init__(self, name, count=0, total=0.0, last=0.0):
        self.name = name
        self.count = count
        self.sum = total
        self.last = last


def single(value):
    """The nearest float of 32 bits, as the contract carries it."""
    return struct.unpack("f", struct.pack("f", value))[0]


@plugin
class Scripted(Detector):
    def __init__(self, parameters):
        if "fail_configure" in parameters:
            raise Invalid(parameters["fail_configure"])
        self.parameters = parameters
        self.series = {}
        self.restored = {}
        self.newest = "none"

    def observe(self, batch):
        threshold = self.parameters.get("threshold", 1)
        reason = self.parameters.get("reason", "")
        if "fail_observe" in self.parameters and self.parameters.get("fail_at") == str(batch.sequence):
            raise Failed(self.parameters["fail_observe"])
        self.newest = shown(batch)
        for number in batch.removed:
            self.series.pop(number, None)
        for series in batch.added:
            name = identity(series)
            known = self.series.get(series.id)
            if known is None or known.name != name:
                self.series[series.id] = self.restored.pop(name, None) or Mean(name)
        observations = []
        scores = Scores([], [], [], [], [])
        for number, points in batch.by_series():
            mean = self.series[number]
            for at in points:
                value = batch.values[at]
                if batch.point_flags[at] & FLAG_AFTER_GAP:
                    mean.count, mean.sum = 0, 0.0
                count = mean.count
                expected = mean.sum / count if count else value
                deviation = min(abs(value - expected), DEVIATION_MAX)
                score, confidence = deviation / (1 + deviation), count / (count + 1)
                lower, upper = expected - threshold, expected + threshold
                if deviation > threshold:
                    numbers = (single(score), single(confidence), value, expected, lower, upper)
                    observations.append(
                        Observation(number, batch.times[at], Kind(count % 5), value > expected, *numbers, reason)
                    )
                scores.score.append(single(score))
                scores.confidence.append(single(confidence))
                scores.expected.append(expected)
                scores.lower.append(lower)
                scores.upper.append(upper)
                mean.sum += value
                mean.count += 1
                mean.last = value
                if not math.isfinite(mean.sum):
                    mean.count, mean.sum = 1, value
        if not batch.values and self.parameters.get("report_missing"):
            for number, mean in sorted(self.series.items()):
                numbers = (1, 1, mean.last, float(mean.count), 0, 0)
                observations.append(Observation(number, batch.now, Kind.MISSING, False, *numbers, reason))
        return Output(observations, scores if batch.scores else None)

    def snapshot(self):
        lines = [
            f"\n{mean.count} {terms.double(mean.sum)} {terms.double(mean.last)} {mean.name}"
            for _, mean in sorted(self.series.items())
        ]
        return State(FORMAT, (self.newest + "".join(lines)).encode())

    def restore(self, state):
        if state.format != FORMAT:
            raise Invalid(f"format {state.format}")
        try:
            for line in state.bytes.decode().split("\n")[1:]:
                count, total, last, name = line.split(" ", 3)
                numbers = [struct.unpack(">d", bytes.fromhex(part))[0] for part in (total, last)]
                self.restored[name] = Mean(name, int(count), *numbers)
        except (ValueError, struct.error) as error:
            raise Invalid(f"the snapshot cannot be read: {error}") from None
