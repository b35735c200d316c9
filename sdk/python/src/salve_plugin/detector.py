"""Detectors: long-lived instances that see points and say what is abnormal."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

#: Bit of a point's flags: first after a gap or a counter reset.
FLAG_AFTER_GAP = 1


class Kind(Enum):
    """The ways in which a series can be abnormal."""

    POINT = 0
    LEVEL_SHIFT = 1
    TREND = 2
    SEASONAL_BREAK = 3
    MISSING = 4


@dataclass
class Series:
    """A series, described when it is added. Series of one group are peers; ``limit`` is a known capacity."""

    id: int
    name: str
    unit: str = "1"
    group: int = 0
    limit: Optional[float] = None
    attributes: Dict[str, str] = field(default_factory=dict)


@dataclass
class Batch:
    """New points of many series, as columns. May be empty: a tick, so that absence is noticed.

    ``series[i]`` owns the points ``offsets[i]`` to ``offsets[i + 1]``. ``now`` and ``times`` are Unix nanoseconds; ``now`` is
    the only clock a detector has.
    """

    sequence: int
    now: int
    added: List[Series]
    removed: List[int]
    series: List[int]
    offsets: List[int]
    times: List[int]
    values: List[float]
    point_flags: bytes
    scores: bool

    def by_series(self) -> Iterator[Tuple[int, range]]:
        """Series with new points, in the order of the columns, each with where its points lie."""
        offsets = self.offsets
        for index, series in enumerate(self.series):
            yield series, range(offsets[index], offsets[index + 1])


@dataclass
class Observation:
    """One abnormal point. Repeat it for every point while the episode lasts.

    ``score``, 0 to 1: how abnormal, 0.5 is where the detector would alert by itself. ``confidence``, 0 to 1: how much it
    trusts its own model of this series.
    """

    series: int
    time: int
    kind: Kind
    rising: bool
    score: float
    confidence: float
    value: float
    expected: float
    lower: float
    upper: float
    reason: str
    extra: Dict[str, str] = field(default_factory=dict)


@dataclass
class Scores:
    """One entry for each point of the batch."""

    score: List[float]
    confidence: List[float]
    expected: List[float]
    lower: List[float]
    upper: List[float]

    @classmethod
    def zero(cls, points: int) -> "Scores":
        """Columns of score 0 and nothing known."""
        return cls(*([0.0] * points for _ in range(5)))


@dataclass
class Output:
    """What ``observe`` says."""

    observations: List[Observation] = field(default_factory=list)
    scores: Optional[Scores] = None


@dataclass
class State:
    """A snapshot. ``format``: the author's own number of the layout of ``bytes``."""

    format: int
    bytes: bytes


class Detector:
    """A detector. One instance lives long and owns a shard of series.

    Its only clock is ``batch.now``: a detector that is given the same batches says the same things.
    """

    def __init__(self, parameters: Dict[str, Any]) -> None:
        """``parameters``: of the operator's binding, already checked against the manifest's schema."""

    def observe(self, batch: Batch) -> Union[Output, List[Observation], None]:
        """Takes a batch: first ``removed``, then ``added``, then the points."""
        raise NotImplementedError("a detector needs a method `observe`")

    def snapshot(self) -> State:
        """All that must survive a restart. The host calls it every minute."""
        return State(0, b"")

    def restore(self, state: State) -> None:
        """Takes over a snapshot in place of a cold start. Raise ``Invalid`` if it is not understood.

        Series ids are new afterwards: the host sends ``added`` for all series again (see ``SeriesTable``).
        """
