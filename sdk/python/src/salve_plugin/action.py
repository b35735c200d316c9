"""Actions: plan writes, make the approved ones, take them back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Union

from .errors import CallError, Failed, NotApplicable
from .plan import Plan, Proposal, Step, bytes_of


@dataclass
class Target:
    """Something that Salve can act on. ``attributes`` are the resource attributes that select it."""

    id: str
    attributes: Dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What a policy asks of an action. Times are Unix nanoseconds."""

    incident: str
    targets: List[Target]
    parameters: Dict[str, Any]
    started: int
    now: int

    @property
    def target(self) -> Target:
        """The first target; raises ``NotApplicable`` if there is none."""
        if not self.targets:
            raise NotApplicable("the request names no target")
        return self.targets[0]


@dataclass
class Receipt:
    """Proof of one write. ``applied`` is False in a dry-run, and if the target refused it: then ``extra`` has ``refused``."""

    call: int
    step: int
    target: str
    verb: str
    applied: bool
    before: Optional[str] = None
    after: Optional[str] = None
    extra: Dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """How it ended. Nobody takes its word for the heal: the telemetry decides."""

    done: bool = True
    note: str = ""
    extra: Dict[str, str] = field(default_factory=dict)


class Action:
    """An action. Each call gets a fresh instance of the component, so there is nothing to remember.

    Only ``plan`` must be written: the host makes sure that ``execute`` does what the plan says, and the default does
    exactly that.
    """

    def plan(self, request: Request) -> Plan:
        """Says what it would do. May read, may not write."""
        raise NotImplementedError("an action needs a method `plan`")

    def execute(self, request: Request, plan: Proposal) -> Outcome:
        """Does what the approved plan names, and nothing else."""
        return execute_plan(plan)

    def undo(self, request: Request, plan: Proposal, receipts: List[Receipt]) -> Outcome:
        """Takes back what the receipts say was applied."""
        return undo_receipts(plan, receipts)


def receipt(raw: Any) -> Receipt:
    """A receipt of the host."""
    extra = dict(raw.extra)
    return Receipt(raw.call, raw.step, raw.target, raw.verb, raw.applied, raw.before, raw.after, extra)


def _perform(index: int, step: Step, bodies: Sequence[bytes]) -> Receipt:
    from . import config, http, notify, process

    capabilities = {"config": config, "http": http, "notify": notify, "process": process}
    if step.capability not in capabilities:
        raise Failed(f"step {index}: the SDK has no capability `{step.capability}`")
    try:
        return capabilities[step.capability]._perform(step, bodies)
    except CallError as error:
        raise Failed(f"step {index}, {step.capability}.{step.verb} on `{step.target}`: {error}") from error


def execute_plan(plan: Proposal, bodies: Sequence[Union[str, bytes]] = ()) -> Outcome:
    """Makes the plan's steps in order and stops at the first that fails. ``bodies``: what steps name by digest."""
    contents = [bytes_of(body) for body in bodies]
    applied = sum(_perform(index, step, contents).applied for index, step in enumerate(plan.steps))
    count = len(plan.steps)
    if applied == count:
        return Outcome(note=f"{count} of {count} steps made")
    return Outcome(note=f"{count} of {count} steps passed, {applied} applied")


def undo_receipts(plan: Proposal, receipts: Sequence[Receipt]) -> Outcome:
    """Makes the inverse of every applied receipt, newest first, as the plan states it; what has none stays, and is named."""
    newest_first = sorted((made for made in receipts if made.applied), key=lambda made: made.call, reverse=True)
    undone = 0
    kept = []
    for made in newest_first:
        if made.step >= len(plan.steps):
            raise Failed(f"receipt {made.call} names step {made.step}, which the plan has not")
        step = plan.steps[made.step]
        if step.inverse is None:
            kept.append(f"{step.capability}.{step.verb} on `{step.target}`")
            continue
        _perform(made.step, Step(step.capability, step.verb, step.target, step.inverse), [])
        undone += 1
    if not kept:
        return Outcome(note=f"{undone} calls taken back")
    return Outcome(done=False, note=f"{undone} calls taken back; no way back for {', '.join(kept)}")
