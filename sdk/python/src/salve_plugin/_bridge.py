"""How calls of the contract reach the author's class, and how what it raises reaches the host.

Records come and go as objects with the contract's fields: the component's own, or those of a test.
"""

from __future__ import annotations

import json
from types import SimpleNamespace, TracebackType
from typing import Any, Callable, Dict, List, Optional, Type

from . import _check as check
from . import _guards, _host, log
from .action import Action, Outcome, Request, Target, receipt
from .agent import Agent, CatalogueEntry, Findings, Incident, Symptom
from .detector import Batch, Detector, Kind, Output, Series, State
from .errors import CallError, Failure, Invalid
from .plan import Expectation, Plan, Proposal, Step

#: Makes the contract's error of a failure, as something to raise.
Refusal = Callable[[Failure], BaseException]


def _stack(traceback: Optional[TracebackType]) -> str:
    """Places without source lines: there are no files to read them from."""
    lines = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(f"{code.co_filename}:{traceback.tb_lineno} in {code.co_name}")
        traceback = traceback.tb_next
    return "\n".join(lines)


def run(name: str, refusal: Refusal, body: Callable[..., Any], *given: Any, calls: bool = False) -> Any:
    """Runs the author's code, ``body`` with what is given. What it raises as ``Failure`` becomes the contract's error; anything
    else is a fault of the plugin: it is written to the host's log and raised on, and the call traps.
    """
    # No context manager: `contextlib` sets attributes of what is raised, and the contract's errors are frozen.
    before = _host.enter()
    try:
        return body(*given)
    except Failure as failure:
        raise refusal(failure) from failure
    except CallError as error:
        if calls:
            raise refusal(error.to_failure()) from error
        _report(name, error)
        raise
    except Exception as error:
        _report(name, error)
        raise
    finally:
        _host.leave(before)


def _report(name: str, error: Exception) -> None:
    log.error(f"{name}: {type(error).__name__}: {error}", stack=_stack(error.__traceback__))


def _parameters(text: str) -> Dict[str, Any]:
    try:
        return json.loads(text or "{}")
    except ValueError as error:
        raise Invalid(f"parameters: {error}") from None


def _targets(raw: Any) -> List[Target]:
    return [Target(target.id, dict(target.attributes)) for target in raw]


def _step(raw: Any, path: str) -> Any:
    step = check.instance(raw, path, Step)
    return SimpleNamespace(
        capability=check.text(step.capability, f"{path}.capability"),
        verb=check.text(step.verb, f"{path}.verb"),
        target=check.text(step.target, f"{path}.target"),
        arguments=check.text(step.arguments, f"{path}.arguments"),
        before=check.optional_text(step.before, f"{path}.before"),
        after=check.optional_text(step.after, f"{path}.after"),
        inverse=check.optional_text(step.inverse, f"{path}.inverse"),
    )


def _expectation(raw: Any, path: str) -> Any:
    return SimpleNamespace(
        service=check.text(raw.service, f"{path}.service"),
        signal=check.text(raw.signal, f"{path}.signal"),
        lower=check.optional_number(raw.lower, f"{path}.lower"),
        upper=check.optional_number(raw.upper, f"{path}.upper"),
        within_ms=check.whole(raw.within_ms, f"{path}.within_ms"),
        hold_ms=check.whole(raw.hold_ms, f"{path}.hold_ms"),
        samples_min=check.whole(raw.samples_min, f"{path}.samples_min", 32),
    )


class ActionBridge:
    """The exports of an action."""

    def __init__(self, cls: Type[Action], refusal: Refusal) -> None:
        self._cls = cls
        self._refusal = refusal

    def _call(self, name: str, raw: Any, body: Callable[[Action, Request], Any]) -> Any:
        def called() -> Any:
            _guards.seed(f"{raw.incident} {raw.now}")
            request = Request(raw.incident, _targets(raw.targets), _parameters(raw.parameters), raw.started, raw.now)
            return body(self._cls(), request)

        return run(name, self._refusal, called, calls=True)

    def plan(self, raw: Any) -> Any:
        def body(action: Action, request: Request) -> Any:
            plan = check.instance(action.plan(request), "what `plan` returns", Plan)
            return SimpleNamespace(
                summary=check.text(plan.summary, "the plan's summary"),
                steps=check.listed(plan.steps, "steps", _step),
                expect=check.listed(plan.expectations, "expect", _expectation),
                extra=check.pairs(plan.details),
            )

        return self._call("plan", raw, body)

    @staticmethod
    def _received(raw: Any) -> Proposal:
        steps = [
            Step(s.capability, s.verb, s.target, s.arguments, s.before, s.after, s.inverse) for s in raw.steps
        ]
        expect = [
            Expectation(e.signal, e.service, e.lower, e.upper, e.within_ms, e.hold_ms, e.samples_min) for e in raw.expect
        ]
        return Proposal(raw.summary, steps, expect, dict(raw.extra))

    @staticmethod
    def _outcome(raw: Any, call: str) -> Any:
        outcome = check.instance(raw, f"what `{call}` returns", Outcome)
        return SimpleNamespace(
            done=check.boolean(outcome.done, "done"),
            note=check.text(outcome.note, "note"),
            extra=check.pairs(outcome.extra),
        )

    def execute(self, raw: Any, plan: Any) -> Any:
        return self._call(
            "execute",
            raw,
            lambda action, request: self._outcome(action.execute(request, self._received(plan)), "execute"),
        )

    def undo(self, raw: Any, plan: Any, receipts: Any) -> Any:
        return self._call(
            "undo",
            raw,
            lambda action, request: self._outcome(
                action.undo(request, self._received(plan), [receipt(made) for made in receipts]), "undo"
            ),
        )


def _hypothesis(raw: Any, path: str) -> Any:
    return SimpleNamespace(
        suspect=check.text(raw.suspect, f"{path}.suspect"),
        mechanism=check.text(raw.mechanism, f"{path}.mechanism"),
        probability=check.number(raw.probability, f"{path}.probability"),
        evidence=check.listed(raw.evidence, f"{path}.evidence", _evidence),
        extra=check.pairs(raw.extra),
    )


def _evidence(raw: Any, path: str) -> Any:
    return SimpleNamespace(
        text=check.text(raw.text, f"{path}.text"),
        reference=check.text(raw.reference, f"{path}.reference"),
        weight=check.number(raw.weight, f"{path}.weight"),
    )


def _suggestion(raw: Any, path: str) -> Any:
    parameters = raw.parameters if isinstance(raw.parameters, str) else json.dumps(raw.parameters, ensure_ascii=False)
    target = raw.target.id if isinstance(raw.target, Target) else raw.target
    return SimpleNamespace(
        action=check.text(raw.action, f"{path}.action"),
        target=check.text(target, f"{path}.target"),
        parameters=check.text(parameters, f"{path}.parameters"),
        reason=check.text(raw.reason, f"{path}.reason"),
    )


class AgentBridge:
    """The export of an agent."""

    def __init__(self, cls: Type[Agent], refusal: Refusal) -> None:
        self._cls = cls
        self._refusal = refusal

    def consult(self, raw: Any, question: str) -> Any:
        def called() -> Any:
            _guards.seed(f"{raw.id} {raw.now}")
            symptoms = [
                Symptom(
                    s.service,
                    s.signal,
                    dict(s.attributes),
                    Kind(s.kind.value),
                    s.rising,
                    s.since,
                    s.score,
                    s.value,
                    s.expected,
                    s.reason,
                )
                for s in raw.symptoms
            ]
            catalogue = [CatalogueEntry(entry.action, entry.summary) for entry in raw.catalogue]
            incident = Incident(raw.id, raw.started, raw.now, symptoms, _targets(raw.targets), catalogue)
            findings = check.instance(self._cls().consult(incident, question), "what `consult` returns", Findings)
            return SimpleNamespace(
                hypotheses=check.listed(findings.hypotheses, "hypotheses", _hypothesis),
                suggestions=check.listed(findings.suggestions, "suggestions", _suggestion),
                text=check.text(findings.text, "text"),
                extra=check.pairs(findings.extra),
            )

        return run("consult", self._refusal, called)


def _observation(raw: Any, path: str) -> Any:
    kind = check.instance(raw.kind, f"{path}.kind", Kind)
    return SimpleNamespace(
        series=check.whole(raw.series, f"{path}.series", 32),
        time=check.whole(raw.time, f"{path}.time"),
        kind=kind,
        rising=check.boolean(raw.rising, f"{path}.rising"),
        score=check.number(raw.score, f"{path}.score"),
        confidence=check.number(raw.confidence, f"{path}.confidence"),
        value=check.number(raw.value, f"{path}.value"),
        expected=check.number(raw.expected, f"{path}.expected"),
        lower=check.number(raw.lower, f"{path}.lower"),
        upper=check.number(raw.upper, f"{path}.upper"),
        reason=check.text(raw.reason, f"{path}.reason"),
        extra=check.pairs(raw.extra),
    )


def _scores(raw: Any) -> Any:
    def column(name: str) -> List[float]:
        return check.listed(getattr(raw, name), f"scores.{name}", check.number)

    names = ("score", "confidence", "expected", "lower", "upper")
    return SimpleNamespace(**{name: column(name) for name in names})


class DetectorBridge:
    """The exports of a detector. Its instance is made by ``configure`` and lives on."""

    def __init__(self, cls: Type[Detector], refusal: Refusal) -> None:
        self._cls = cls
        self._refusal = refusal
        self._instance: Optional[Detector] = None

    def _made(self) -> Detector:
        if self._instance is None:
            raise Invalid("`configure` was not called")
        return self._instance

    def configure(self, parameters: str) -> None:
        def called() -> None:
            _guards.seed("")
            self._instance = self._cls(_parameters(parameters))

        run("configure", self._refusal, called)

    def _observed(self, raw: Any) -> Any:
        added = raw.added
        if added:
            added = [Series(s.id, s.name, s.unit, s.group, s.limit, dict(s.attributes)) for s in added]
        batch = Batch(
            raw.sequence,
            raw.now,
            added,
            raw.removed,
            raw.series,
            raw.offsets,
            raw.times,
            raw.values,
            raw.point_flags,
            raw.scores,
        )
        answer = self._made().observe(batch)
        if answer is None:
            return SimpleNamespace(observations=[], scores=None)
        scores = None
        if not isinstance(answer, list):
            output = check.instance(answer, "what `observe` returns", Output)
            answer, scores = output.observations, output.scores
        return SimpleNamespace(
            observations=check.listed(answer, "observations", _observation),
            scores=None if scores is None else _scores(scores),
        )

    def observe(self, raw: Any) -> Any:
        return run("observe", self._refusal, self._observed, raw)

    def snapshot(self) -> Any:
        def called() -> Any:
            state = check.instance(self._made().snapshot(), "what `snapshot` returns", State)
            return SimpleNamespace(format=check.whole(state.format, "format", 32), bytes=bytes(state.bytes))

        return run("snapshot", self._refusal, called)

    def restore(self, raw: Any) -> None:
        run("restore", self._refusal, lambda: self._made().restore(State(raw.format, bytes(raw.bytes))))


#: The author's base class and the exports of each role.
ROLES = {
    "action": (Action, ActionBridge),
    "agent": (Agent, AgentBridge),
    "detector": (Detector, DetectorBridge),
}
