"""Read access to what the host has seen, for agents and actions. Every answer is bounded, as the contract says.

Windows are Unix nanoseconds, the end not included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional

from . import _host


@dataclass
class ServiceStats:
    """One service over one window, from its server spans."""

    service: str
    requests_per_second: float = 0.0
    error_ratio: float = 0.0
    duration_mean_ms: float = 0.0
    duration_p95_ms: float = 0.0
    last_seen: int = 0


@dataclass
class EdgeStats:
    """Calls from one service to another over one window, as the caller saw them."""

    caller: str
    callee: str
    requests_per_second: float = 0.0
    error_ratio: float = 0.0
    duration_mean_ms: float = 0.0


@dataclass
class Change:
    """Something that was changed on purpose or by accident."""

    time: int
    what: str
    service: Optional[str] = None
    target: Optional[str] = None
    kind: str = "config"
    before: Optional[str] = None
    after: Optional[str] = None
    author: str = "other"


@dataclass
class SeriesInfo:
    """A series that can be asked for."""

    id: int
    name: str
    unit: str
    service: str
    limit: Optional[float]
    attributes: Dict[str, str]


@dataclass
class Point:
    """One point: Unix nanoseconds and value."""

    time: int
    value: float


@dataclass
class Window:
    """Unix nanoseconds; ``to`` is not included."""

    from_: int
    to: int


def services(start: int, end: int) -> List[ServiceStats]:
    """All services seen in the window, at most 1,000, by name."""
    return _host.interface("telemetry").services(Window(start, end))


def edges(start: int, end: int) -> List[EdgeStats]:
    """All edges seen in the window, at most 5,000, by caller and callee."""
    return _host.interface("telemetry").edges(Window(start, end))


def changes(start: int, end: int) -> List[Change]:
    """Changes in the window, newest first, at most 100."""
    return _host.interface("telemetry").changes(Window(start, end))


def find(service: str, name_prefix: str) -> List[SeriesInfo]:
    """Series of a service (empty: of all) whose name begins with ``name_prefix``, at most 200."""
    found = _host.interface("telemetry").find(service, name_prefix)
    return [SeriesInfo(s.id, s.name, s.unit, s.service, s.limit, dict(s.attributes)) for s in found]


def points(series: int, start: int, end: int) -> List[Point]:
    """Points of a series in the window, oldest first, at most 2,000 (the newest ones)."""
    return _host.interface("telemetry").points(series, Window(start, end))
