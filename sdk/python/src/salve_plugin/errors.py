"""What an author raises, and what calls to the host raise."""

from __future__ import annotations

from typing import Optional


class Failure(Exception):
    """Why a plugin does not do what it was asked. Anything else that is raised counts as a fault of the plugin."""

    kind = "failed"


class NotApplicable(Failure):
    """There is nothing to do here for this action, and why."""

    kind = "not-applicable"


class Invalid(Failure):
    """The parameters, or a snapshot, make no sense, and why."""

    kind = "invalid"


class Failed(Failure):
    """It was tried and did not work, and why."""

    kind = "failed"


class Unsupported(RuntimeError):
    """What was used does not exist in a plugin; the message says what to use."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"`{what}` does not exist in a plugin; {instead}")


class CallError(Exception):
    """Why the host refused a call, or why it failed.

    ``kind`` is ``denied``, ``not-found``, ``failed`` or ``timed-out``; ``denied`` is the reason of a refusal, for instance
    ``not-in-plan``; ``detail`` is the host's text.
    """

    def __init__(self, kind: str, detail: Optional[str] = None, denied: Optional[str] = None) -> None:
        super().__init__(_explain(kind, detail, denied))
        self.kind = kind
        self.detail = detail
        self.denied = denied

    def to_failure(self) -> Failure:
        """What an action ends with if it does not catch this."""
        return NotApplicable(str(self)) if self.kind == "not-found" else Failed(str(self))


def _explain(kind: str, detail: Optional[str], denied: Optional[str]) -> str:
    if kind == "not-found":
        return f"not found: {detail}"
    if kind == "failed":
        return f"failed: {detail}"
    if kind == "timed-out":
        return "no answer in time, it may or may not have happened"
    if denied == "not-granted":
        return f"not granted; this would allow it: {detail}"
    if denied == "not-in-plan":
        return f"not in the approved plan ({detail})"
    if denied == "not-recorded":
        return "not in the recording"
    if denied == "state-changed":
        return f"the target has changed since the plan: now {detail}"
    if denied == "kill-switch":
        return "Salve is paused"
    return f"limit used up: {detail}"
