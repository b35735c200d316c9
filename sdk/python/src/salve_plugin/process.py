"""Processes that Salve supervises. Nothing here can be undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Sequence

from . import _host
from .action import Receipt, receipt
from .errors import CallError
from .plan import Step, step, target_id


@dataclass
class ProcessStatus:
    """``state`` is ``running``, ``stopped`` (by a signal), ``exited`` or ``zombie``; ``pid`` is None if it does not run."""

    pid: Optional[int] = None
    started: Optional[int] = None
    state: str = "exited"
    rss_bytes: int = 0
    cpu_seconds: float = 0.0
    last_exit: Optional[str] = None


def status(target: Any) -> ProcessStatus:
    """How the process is. Raises ``CallError``."""
    return _host.interface("process").status(target_id(target))


def start(target: Any) -> Receipt:
    """Starts it. Raises ``CallError``."""
    return receipt(_host.interface("process").start(target_id(target)))


def stop(target: Any) -> Receipt:
    """Stops it. Raises ``CallError``."""
    return receipt(_host.interface("process").stop(target_id(target)))


def restart(target: Any) -> Receipt:
    """Ends it (SIGTERM, then SIGKILL after the unit's grace time) and starts it again. Raises ``CallError``."""
    return receipt(_host.interface("process").restart(target_id(target)))


def start_step(target: Any) -> Step:
    """The step that licenses ``start``."""
    return step("process", "start", target, {})


def stop_step(target: Any) -> Step:
    """The step that licenses ``stop``."""
    return step("process", "stop", target, {})


def restart_step(target: Any) -> Step:
    """The step that licenses ``restart``."""
    return step("process", "restart", target, {})


def _perform(licensed: Step, _bodies: Sequence[bytes]) -> Receipt:
    verbs = {"start": start, "stop": stop, "restart": restart}
    if licensed.verb not in verbs:
        raise CallError("not-found", f"`process` has no verb `{licensed.verb}`")
    return verbs[licensed.verb](licensed.target)
