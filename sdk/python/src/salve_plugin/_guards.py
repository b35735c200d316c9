"""What Python programs expect and a plugin does not have.

Much of it traps in the component and cannot be caught, so it is replaced: by the host's clock, log and seeded numbers where
that is right, else by errors that say what to use. While a component is built, the originals are at work.
"""

from __future__ import annotations

import builtins
import datetime as _datetime
import io
import os
import random
import sys
import time
from typing import Any, Callable, List, Tuple

from . import _host, clock, log
from .errors import Unsupported

_NO_TIME = "use `clock.now()`, or in a detector `batch.now`"
_NO_FILES = "a plugin has no files; read them while the module is loaded, or use the capability `config`"
_NO_NETWORK = "a plugin has no sockets; name the capability `http` in plugin.toml and use `http.get` and `http.send`"
_NO_RANDOM = "make a key of the incident's id; `random` is seeded, so that calls can be replayed"
_NO_PROCESS = "a plugin starts no processes; use the capability `process`"


class UnsupportedFile(Unsupported, OSError):
    """Also an ``OSError``, so that libraries that can do without a file do."""


_originals: List[Tuple[Any, str, Any]] = []
_MISSING = object()


def _replace(owner: Any, name: str, value: Any) -> None:
    _originals.append((owner, name, getattr(owner, name, _MISSING)))
    setattr(owner, name, value)


def _now_ns(what: str) -> int:
    try:
        return clock.now()
    except RuntimeError as error:
        raise Unsupported(what, f"{_NO_TIME} ({error})") from None


def _guard(owner: Any, name: str, what: str, within: Callable[..., Any]) -> None:
    """Replaces a function for calls of the plugin; outside of them it is as it was."""
    original = getattr(owner, name, None)
    if original is None:
        return

    def replaced(*arguments: Any, **named: Any) -> Any:
        if not _host._in_call:
            return original(*arguments, **named)
        return within(original, *arguments, **named)

    replaced.__name__ = name
    replaced.__doc__ = f"`{what}`, as a plugin has it."
    _replace(owner, name, replaced)


def _refuse(owner: Any, name: str, what: str, instead: str, error: Callable[..., Exception] = Unsupported) -> None:
    def refused(_original: Any, *_arguments: Any, **_named: Any) -> Any:
        raise error(what, instead)

    _guard(owner, name, what, refused)


def _time() -> None:
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        what = f"time.{name}()"
        _guard(time, name, what, lambda _original, what=what: _now_ns(what) / 1e9)
        what = f"time.{name}_ns()"
        _guard(time, f"{name}_ns", what, lambda _original, what=what: _now_ns(what))
    for name in ("localtime", "gmtime", "ctime"):

        def converted(original: Any, seconds: Any = None, what: str = f"time.{name}()") -> Any:
            return original(_now_ns(what) / 1e9 if seconds is None else seconds)

        _guard(time, name, f"time.{name}()", converted)

    def formatted(original: Any, layout: str, moment: Any = None) -> str:
        return original(layout, time.localtime() if moment is None else moment)

    _guard(time, "strftime", "time.strftime()", formatted)

    def slept(_original: Any, seconds: float) -> None:
        try:
            clock.sleep_ms(int(seconds * 1000))
        except RuntimeError as error:
            raise Unsupported("time.sleep()", f"a detector waits for nothing ({error})") from None

    _guard(time, "sleep", "time.sleep()", slept)


def _dates() -> None:
    real_date, real_datetime = _datetime.date, _datetime.datetime

    class DateMeta(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, real_date)

    class DatetimeMeta(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, real_datetime)

    class date(real_date, metaclass=DateMeta):  # type: ignore[misc]
        @classmethod
        def today(cls) -> Any:
            if not _host._in_call:
                return real_date.today()
            moment = real_datetime.fromtimestamp(_now_ns("date.today()") / 1e9, _datetime.timezone.utc)
            return cls(moment.year, moment.month, moment.day)

    class datetime(real_datetime, metaclass=DatetimeMeta):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            if not _host._in_call:
                return real_datetime.now(tz)
            return cls.fromtimestamp(_now_ns("datetime.now()") / 1e9, tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(_datetime.timezone.utc).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    _replace(_datetime, "date", date)
    _replace(_datetime, "datetime", datetime)


class _Lines(io.TextIOBase):
    """Lines to the host's log; while the component is built, to where they went before."""

    def __init__(self, level: str, before: Any) -> None:
        self._level = level
        self._before = before
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not _host._in_call:
            return self._before.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            log.write(self._level, line)
        return len(text)

    def flush(self) -> None:
        if not _host._in_call:
            self._before.flush()
        elif self._rest:
            rest, self._rest = self._rest, ""
            log.write(self._level, rest)


def _component_only() -> None:
    _dates()
    _replace(sys, "stdout", _Lines("info", sys.stdout))
    _replace(sys, "stderr", _Lines("warn", sys.stderr))
    for owner, names in (
        (builtins, ("open",)),
        (io, ("open", "open_code")),
        (os, ("open", "stat", "lstat", "listdir", "scandir", "mkdir", "remove", "unlink", "rename", "getcwd", "access")),
    ):
        for name in names:
            _refuse(owner, name, f"{name}()", _NO_FILES, UnsupportedFile)
    _refuse(builtins, "input", "input()", "nobody is there to answer")
    _refuse(os, "urandom", "os.urandom()", _NO_RANDOM)
    _refuse(random, "_urandom", "random.SystemRandom()", _NO_RANDOM)
    for name in ("system", "popen", "fork", "kill"):
        _refuse(os, name, f"os.{name}()", _NO_PROCESS)


class _NotLoaded:
    """The last finder of modules: in a call, there is no way to their files."""

    @staticmethod
    def find_spec(name: str, _path: Any = None, _target: Any = None) -> None:
        raise ModuleNotFoundError(
            f"`{name}` was not loaded when the component was built; import it at the top of a module, and use only what the "
            "project brings along",
            name=name,
        )


class _LoggingTime:
    """`logging` stamps its records; a detector has no clock, and its records no time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def time() -> float:
        return clock.now() / 1e9 if _host.has("clock") else 0.0

    @staticmethod
    def time_ns() -> int:
        return clock.now() if _host.has("clock") else 0


_sealed = False


def seal() -> None:
    """At the first call of a component: from now on nothing can be loaded."""
    global _sealed
    if _sealed:
        return
    _sealed = True
    kept = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") in ("BuiltinImporter", "FrozenImporter")]
    sys.meta_path[:] = [*kept, _NotLoaded]
    if "logging" in sys.modules:
        sys.modules["logging"].time = _LoggingTime()  # type: ignore[attr-defined]
    if "socket" in sys.modules:
        _refuse(sys.modules["socket"], "socket", "socket.socket()", _NO_NETWORK, UnsupportedFile)
        _refuse(sys.modules["socket"], "create_connection", "socket.create_connection()", _NO_NETWORK, UnsupportedFile)


def install(component: bool) -> Callable[[], None]:
    """Replaces what is listed above; gives back a function that brings the old ones back."""
    before = len(_originals)
    _time()
    if component:
        _component_only()

    def restore() -> None:
        while len(_originals) > before:
            owner, name, original = _originals.pop()
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

    return restore


def seed(text: str) -> None:
    """Begins a row of random numbers: equal calls see equal ones, so that they can be replayed."""
    random.seed(text, version=2)


__all__ = ["install", "seal", "seed"]
