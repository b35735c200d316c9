"""State of many series, found by their dense ids while the instance lives and by identity after a restart.

A restored state waits until its series is added again; those that never come are dropped after an hour of the host's time. A
snapshot holds live and waiting states, so two restarts in a row lose nothing.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Generic, Iterator, Optional, Tuple, TypeVar

from .codec import Reader, Writer
from .detector import Batch, Series

#: How long restored states wait for their series, in nanoseconds.
WAIT_NS = 3_600_000_000_000

T = TypeVar("T")


def identity(series: Series) -> str:
    """Names a series across restarts: its name, unit and attributes in the order of their names, as text."""
    attributes = sorted(series.attributes.items())
    return json.dumps([series.name, series.unit, attributes], separators=(",", ":"), ensure_ascii=False)


class SeriesTable(Generic[T]):
    """States by series id."""

    def __init__(self) -> None:
        self._slots: Dict[int, Tuple[str, T]] = {}
        self._waiting: Dict[str, T] = {}
        self._waiting_since: Optional[int] = None

    def update(
        self,
        batch: Batch,
        create: Callable[[Series], T],
        adopt: Callable[[Series, T], Any] = lambda series, state: None,
    ) -> None:
        """Takes over the batch's ``removed`` and then its ``added``.

        ``create`` makes the state of a series that is not known from a snapshot or from before; ``adopt`` fits a known state
        to the series as it is now.
        """
        for gone in batch.removed:
            self._slots.pop(gone, None)
        for series in batch.added:
            name = identity(series)
            there = self._slots.get(series.id)
            waiting = self._waiting.pop(name, None)
            # A series is described again when its limit changes: what was learnt of it goes on.
            state = there[1] if there is not None and there[0] == name else waiting
            if state is None:
                state = create(series)
            else:
                adopt(series, state)
            self._slots[series.id] = (name, state)
        if self._waiting:
            if self._waiting_since is None:
                self._waiting_since = batch.now
            if batch.now - self._waiting_since > WAIT_NS:
                self._waiting.clear()

    def get(self, series: int) -> Optional[T]:
        """The state of a series, if it was added."""
        slot = self._slots.get(series)
        return None if slot is None else slot[1]

    def items(self) -> Iterator[Tuple[int, T]]:
        """All live series by id."""
        return ((number, self._slots[number][1]) for number in sorted(self._slots))

    def __len__(self) -> int:
        return len(self._slots)

    def write(self, writer: Writer, put: Callable[[Writer, T], Any]) -> None:
        """Appends all states with the identities of their series; ``put`` appends one."""
        for number in sorted(self._slots):
            name, state = self._slots[number]
            put(writer.text(name), state)
        for name, state in self._waiting.items():
            put(writer.text(name), state)

    def read(self, reader: Reader, take: Callable[[Reader], T]) -> None:
        """Takes all states that are left; they wait for their series. If ``take`` raises, the table is as it was."""
        waiting = {}
        while reader.remaining:
            name = reader.text()
            waiting[name] = take(reader)
        self._waiting = waiting
        self._waiting_since = None
