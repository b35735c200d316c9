"""Runs plugins against a scripted host."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

from .._bridge import ActionBridge, AgentBridge, DetectorBridge
from ..action import Action, Target
from ..agent import Agent, Incident
from ..detector import Detector, Observation, Output, Series, State
from ..errors import Failure
from .host import EPOCH_NS, FakeHost

T = TypeVar("T")
_BASE = ("log", "clock", "telemetry")
_ALL = (*_BASE, "process", "config", "http", "notify")


def _same(failure: Failure) -> BaseException:
    return failure


def _target(given: Union[str, Target]) -> Target:
    return Target(given, {"service.name": given}) if isinstance(given, str) else given


class ActionTest:
    """One request to an action, and the host that it runs on. A target given by name selects the service of that name."""

    def __init__(
        self,
        action: Type[Action],
        host: Optional[FakeHost] = None,
        parameters: Optional[Mapping[str, Any]] = None,
        targets: Sequence[Union[str, Target]] = (),
        incident: str = "inc-1",
    ) -> None:
        self.host = host or FakeHost()
        self._bridge = ActionBridge(action, _same)
        self._request = SimpleNamespace(
            incident=incident,
            targets=[_target(given) for given in targets],
            parameters=json.dumps(dict(parameters or {})),
            started=self.host.now - 5_000_000_000,
            now=self.host.now,
        )

    def plan(self) -> Any:
        """Asks for a plan and completes it as the host does."""
        made = self.host.run(("plan", None), _ALL, lambda: self._bridge.plan(self._request))
        return self.host.complete(made)

    def execute(self, plan: Any) -> Any:
        """Executes an approved plan."""
        return self.host.run(("execute", plan), _ALL, lambda: self._bridge.execute(self._request, plan))

    def undo(self, plan: Any) -> Any:
        """Undoes what the host has receipts for."""
        receipts = list(self.host.receipts)
        return self.host.run(("undo", plan), _ALL, lambda: self._bridge.undo(self._request, plan, receipts))


class AgentTest:
    """An agent and the host that it asks."""

    def __init__(self, agent: Type[Agent], host: Optional[FakeHost] = None) -> None:
        self.host = host or FakeHost()
        self._bridge = AgentBridge(agent, _same)

    def cause(self, incident: Incident) -> Any:
        """Asks for the cause."""
        return self.host.run(("plan", None), _BASE, lambda: self._bridge.consult(incident, "cause"))


class DetectorTest:
    """A detector instance and the batches that it is sent, ``step_ms`` apart."""

    def __init__(
        self, detector: Type[Detector], parameters: Optional[Mapping[str, Any]] = None, step_ms: int = 1000
    ) -> None:
        self.host = FakeHost()
        self.step_ms = step_ms
        #: The host's time of the next batch, Unix nanoseconds.
        self.now = EPOCH_NS
        self._detector = detector
        self._parameters = json.dumps(dict(parameters or {}))
        self._series: List[Series] = []
        self._added: List[Series] = []
        self._removed: List[int] = []
        self._sequence = 0
        self._bridge = self._configured()

    def _run(self, call: Callable[[], T]) -> T:
        return self.host.run(("plan", None), ("log",), call)

    def _configured(self) -> DetectorBridge:
        bridge = DetectorBridge(self._detector, _same)
        self._run(lambda: bridge.configure(self._parameters))
        return bridge

    def add(
        self,
        name: str,
        attributes: Optional[Dict[str, str]] = None,
        limit: Optional[float] = None,
        unit: str = "1",
        group: int = 0,
    ) -> int:
        """Adds a series with the next batch and gives its id."""
        series = Series(len(self._series), name, unit, group, limit, attributes or {})
        self._series.append(series)
        self._added.append(series)
        return series.id

    def remove(self, series: int) -> None:
        """Removes a series with the next batch."""
        self._removed.append(series)

    def push(self, points: Sequence[Tuple[int, float]] = ()) -> List[Observation]:
        """Sends one point for each of these series, and gives back what was observed."""
        return self.push_columns([(series, self.now, value, 0) for series, value in points]).observations

    def push_columns(self, points: Sequence[Tuple[int, int, float, int]], scores: bool = False) -> Output:
        """Sends points of (series, time, value, flags), those of one series side by side; gives back the whole output."""
        series: List[int] = []
        offsets = [0]
        for count, (number, _, _, _) in enumerate(points, start=1):
            if not series or series[-1] != number:
                series.append(number)
                offsets.append(count)
            offsets[-1] = count
        batch = SimpleNamespace(
            sequence=self._sequence,
            now=self.now,
            added=self._added,
            removed=self._removed,
            series=series,
            offsets=offsets,
            times=[time for _, time, _, _ in points],
            values=[float(value) for _, _, value, _ in points],
            point_flags=bytes(flags for _, _, _, flags in points),
            scores=scores,
        )
        self._sequence += 1
        self._added, self._removed = [], []
        self.now += self.step_ms * 1_000_000
        return self._run(lambda: self._bridge.observe(batch))

    def snapshot(self) -> State:
        """The instance's snapshot."""
        state = self._run(self._bridge.snapshot)
        return State(state.format, state.bytes)

    def restart_from(self, state: State) -> None:
        """A fresh instance that takes over the snapshot, as after a restart: the next batch adds all series, in reverse."""
        bridge = self._configured()
        self._run(lambda: bridge.restore(state))
        self._bridge = bridge
        self._added = self._series[::-1]
