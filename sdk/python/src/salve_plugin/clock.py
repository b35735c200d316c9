"""Time as the host gives it to agents and actions: virtual and recorded. Detectors go by ``batch.now``."""

from __future__ import annotations

from typing import Callable, Optional, TypeVar

from . import _host

T = TypeVar("T")


def now() -> int:
    """Unix nanoseconds."""
    return _host.interface("clock").now()


def sleep_ms(duration_ms: int) -> None:
    """Waits. Counts against the call's wall-clock limit, not against its CPU limit."""
    _host.interface("clock").sleep(max(0, int(duration_ms)))


def poll(timeout_ms: int, pause_ms: int, probe: Callable[[], Optional[T]]) -> Optional[T]:
    """Asks ``probe`` every ``pause_ms`` until it answers something but None, for at most ``timeout_ms``; then None.

    It is asked at least twice unless the first answer settles it.
    """
    deadline = now() + timeout_ms * 1_000_000
    while True:
        answer = probe()
        if answer is not None:
            return answer
        if now() >= deadline:
            return None
        sleep_ms(max(1, pause_ms))
