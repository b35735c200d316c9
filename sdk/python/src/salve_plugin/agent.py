"""Agents: find causes and give advice. Nothing in their world changes anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Union

from .action import Target
from .detector import Kind


@dataclass
class Symptom:
    """One abnormal series of the incident. ``since`` is in Unix nanoseconds."""

    service: str
    signal: str
    attributes: Dict[str, str] = field(default_factory=dict)
    kind: Kind = Kind.POINT
    rising: bool = True
    since: int = 0
    score: float = 1.0
    value: float = 0.0
    expected: float = 0.0
    reason: str = ""


@dataclass
class CatalogueEntry:
    """An action that a policy may choose."""

    action: str
    summary: str


@dataclass
class Incident:
    """What the question is about. Times are Unix nanoseconds."""

    id: str
    started: int
    now: int
    symptoms: List[Symptom] = field(default_factory=list)
    targets: List[Target] = field(default_factory=list)
    catalogue: List[CatalogueEntry] = field(default_factory=list)


@dataclass
class Evidence:
    """``reference``: the series, edge or change it rests on; ``weight`` in nats, negative speaks against."""

    text: str
    reference: str = ""
    weight: float = 0.0


@dataclass
class Hypothesis:
    """One possible cause. ``probability`` is 0 to 1, over all hypotheses at most 1.

    ``mechanism`` is one word of ``absent``, ``unresponsive``, ``errors``, ``slow``, ``saturation``, ``config-change``,
    ``overload``, ``unknown``, or the author's own.
    """

    suspect: str
    mechanism: str
    probability: float
    evidence: List[Evidence] = field(default_factory=list)
    extra: Dict[str, str] = field(default_factory=dict)


@dataclass
class Suggestion:
    """An action the agent would take; policies decide. ``parameters``: a mapping, or JSON."""

    action: str
    target: str
    parameters: Union[Dict[str, Any], str] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Findings:
    """Ranked hypotheses and suggestions; ``text`` is for people and never parsed."""

    hypotheses: List[Hypothesis] = field(default_factory=list)
    suggestions: List[Suggestion] = field(default_factory=list)
    text: str = ""
    extra: Dict[str, str] = field(default_factory=dict)


class Agent:
    """An agent. Each call gets a fresh instance of the component, so there is nothing to remember."""

    def consult(self, incident: Incident, question: str) -> Findings:
        """Answers a question about an incident. ``question`` is ``cause`` in this version.

        To have found nothing is an answer; raise ``Failure`` if there is none.
        """
        raise NotImplementedError("an agent needs a method `consult`")
