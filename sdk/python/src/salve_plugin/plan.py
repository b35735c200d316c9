"""Plans: what an action will do, as steps that each license one call.

A step's ``arguments`` are canonical JSON: keys sorted, no spaces, bodies as lower-case SHA-256. The host compares them byte by
byte with the call that is made, so they are written here and nowhere else. ``before`` and ``inverse`` stay empty: the host
states what is true, and how a call is taken back.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Union

from ._check import Pairs, pairs, well_formed


@dataclass
class Step:
    """Licenses one call with exactly these arguments, if the state is still ``before``."""

    capability: str
    verb: str
    target: str
    arguments: str
    before: Optional[str] = None
    after: Optional[str] = None
    inverse: Optional[str] = None


@dataclass
class Expectation:
    """What the telemetry must show for this to count as healed, besides the incident's own symptoms clearing.

    An empty service is the first target's. The bounds are inclusive; they must hold by ``within_ms``, counted from the end of
    ``execute``, for ``hold_ms`` without a break, over at least ``samples_min`` points.
    """

    signal: str
    service: str = ""
    lower: Optional[float] = None
    upper: Optional[float] = None
    within_ms: int = 60_000
    hold_ms: int = 5_000
    samples_min: int = 3

    @classmethod
    def of(cls, given: Union["Expectation", Mapping[str, Any]]) -> "Expectation":
        """From parameters: a mapping with the names of the fields."""
        return given if isinstance(given, cls) else cls(**given)  # type: ignore[arg-type]


@dataclass
class Proposal:
    """A plan as the host has approved it."""

    summary: str
    steps: List[Step] = field(default_factory=list)
    expect: List[Expectation] = field(default_factory=list)
    extra: Dict[str, str] = field(default_factory=dict)


class Plan:
    """Builds a proposal. ``summary``: one sentence for a person, what this will do."""

    def __init__(self, summary: str) -> None:
        self.summary = summary
        self.steps: List[Step] = []
        self.expectations: List[Expectation] = []
        self.details: List[Any] = []

    def step(self, *steps: Step) -> "Plan":
        """Adds steps, to be made after those before them."""
        self.steps.extend(steps)
        return self

    def expect(self, *expectations: Union[Expectation, Mapping[str, Any]]) -> "Plan":
        """Adds what the telemetry must show afterwards, besides the incident's own symptoms clearing."""
        self.expectations.extend(Expectation.of(given) for given in expectations)
        return self

    def extra(self, name: str, value: str) -> "Plan":
        """Adds a detail by name, for people and for ``execute``."""
        self.details.append((name, value))
        return self


def target_id(target: Any) -> str:
    """The id of a target or of its id."""
    found = target if isinstance(target, str) else getattr(target, "id", None)
    if not isinstance(found, str):
        raise TypeError(f"a target is the request's target or its id, not {target!r:.80}")
    return well_formed(found)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, without spaces, and with no escapes but those that JSON demands."""
    return well_formed(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False))


def step(capability: str, verb: str, target: Any, arguments: Mapping[str, Any]) -> Step:
    """A step that licenses one call. Prefer the functions that know their arguments, such as ``process.restart_step``."""
    return Step(capability, verb, target_id(target), canonical_json(dict(arguments)))


def body_sha256(body: Union[str, bytes]) -> str:
    """Lower-case hex SHA-256, as steps name bodies."""
    return hashlib.sha256(bytes_of(body)).hexdigest()


def bytes_of(body: Union[str, bytes, bytearray, memoryview]) -> bytes:
    """The bytes of a text or of bytes."""
    return well_formed(body).encode() if isinstance(body, str) else bytes(body)


__all__ = ["Expectation", "Pairs", "Plan", "Proposal", "Step", "body_sha256", "canonical_json", "pairs", "step", "target_id"]
