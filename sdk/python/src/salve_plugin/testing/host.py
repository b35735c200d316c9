"""A scripted host: the state of some targets, and what was called on them.

Writes outside ``execute`` and ``undo``, and writes that no step of the plan licenses, are refused. A refused or failed call
changes nothing.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, TypeVar, Union

from .. import _guards, _host, config, http, notify, process
from ..action import Receipt
from ..errors import CallError
from ..plan import Step, bytes_of
from ..telemetry import Change, EdgeStats, Point, SeriesInfo, ServiceStats

#: Unix nanoseconds at which a fake host's clock begins: 2026-01-01.
EPOCH_NS = 1_767_225_600_000_000_000

T = TypeVar("T")
Answer = Callable[[http.Request], http.Response]


class FakeHost:
    """A scripted host. Methods that add something give the host back, so that they can be chained."""

    def __init__(self) -> None:
        #: Unix nanoseconds; may be set.
        self.now = EPOCH_NS
        #: All receipts so far, oldest first.
        self.receipts: List[Receipt] = []
        #: HTTP requests that were made, reads included, oldest first.
        self.requests: List[http.Request] = []
        #: Messages that were sent: target and fields, oldest first.
        self.messages: List[Tuple[str, Dict[str, str]]] = []
        #: What was logged: level, message and fields, oldest first.
        self.logs: List[Tuple[str, str, Dict[str, str]]] = []
        self._phase: Tuple[str, Any] = ("plan", None)
        self._dry_run = False
        self._processes: Dict[str, process.ProcessStatus] = {}
        self._starting: Dict[str, int] = {}
        self._start_delay_ms = 0
        self._config: Dict[Tuple[str, str], List[config.Version]] = {}
        self._answers: Dict[Tuple[str, str], Answer] = {}
        self._failures: List[Tuple[str, CallError]] = []
        self._services: List[Tuple[int, int, ServiceStats]] = []
        self._edges: List[Tuple[int, int, EdgeStats]] = []
        self._changes: List[Change] = []
        self._series: List[Tuple[SeriesInfo, List[Point]]] = []

    def process(self, target: str, status: Optional[process.ProcessStatus] = None) -> "FakeHost":
        """Adds a target with a running process."""
        self._processes[target] = status or self._running(100 + len(self._processes))
        return self

    def start_delay_ms(self, delay_ms: int) -> "FakeHost":
        """Started processes are ``exited`` until this much of the clock has passed."""
        self._start_delay_ms = delay_ms
        return self

    def config(self, target: str, key: str, value: Optional[str], good: bool = True) -> "FakeHost":
        """Adds a version of a configuration key; the last one added is in force. ``good``: it proved itself."""
        self._config.setdefault((target, key), []).insert(0, config.Version(value, self.now, good))
        self.now += 1_000_000_000
        return self

    def answer(
        self, target: str, path: str, status: Union[int, Answer], body: Union[str, bytes] = b""
    ) -> "FakeHost":
        """Sets the answer to HTTP calls of a path, or makes it by a function of the request; other paths answer 404."""
        fixed = status if callable(status) else lambda _: http.Response(status, [], bytes_of(body))
        self._answers[(target, path)] = fixed
        return self

    def fail_next(self, call: str, error: CallError) -> "FakeHost":
        """Lets the next call of ``capability.verb`` fail, for instance ``process.restart``."""
        self._failures.append((call, error))
        return self

    def dry_run(self) -> "FakeHost":
        """Checks writes and answers with receipts that are not ``applied``."""
        self._dry_run = True
        return self

    def service(self, start: int, end: int, stats: ServiceStats) -> "FakeHost":
        """Adds what telemetry says of a service between two times; a question is answered by what overlaps it most."""
        self._services.append((start, end, stats))
        return self

    def edge(self, start: int, end: int, stats: EdgeStats) -> "FakeHost":
        """Adds what telemetry says of an edge between two times."""
        self._edges.append((start, end, stats))
        return self

    def change(self, change: Change) -> "FakeHost":
        """Adds a change event."""
        self._changes.append(change)
        return self

    def series(self, info: SeriesInfo, points: Sequence[Point] = ()) -> "FakeHost":
        """Adds a series with its points, oldest first."""
        self._series.append((info, list(points)))
        return self

    def config_value(self, target: str, key: str) -> Optional[str]:
        """The value of a configuration key."""
        versions = self._config.get((target, key))
        return versions[0].value if versions else None

    def process_now(self, target: str) -> Optional[process.ProcessStatus]:
        """How a target's process is."""
        return self._processes.get(target)

    def run(self, phase: Tuple[str, Any], interfaces: Iterable[str], call: Callable[[], T]) -> T:
        """Runs a call with this host; ``interfaces`` are those of the plugin's world."""
        known = self._interfaces()
        before = _host.connect({name: known[name] for name in interfaces})
        restore = _guards.install(component=False)
        self._phase = phase
        try:
            return call()
        finally:
            self._phase = ("plan", None)
            restore()
            _host.connect(before)

    def complete(self, proposal: Any) -> Any:
        """Completes a proposal as the host does when it is made: what is true before, and the way back."""
        for step in proposal.steps:
            if step.capability == "config":
                key = json.loads(step.arguments)["key"]
                step.before = self.config_value(step.target, key)
                step.inverse = config.set_step(step.target, key, step.before).arguments
        return proposal

    def _running(self, pid: int) -> process.ProcessStatus:
        return process.ProcessStatus(pid, self.now, "running", 50 << 20, 1.0, None)

    def _call(self, name: str, act: Callable[[], T]) -> T:
        for index, (call, error) in enumerate(self._failures):
            if call == name:
                del self._failures[index]
                raise error
        for target in [target for target, at in self._starting.items() if at <= self.now]:
            del self._starting[target]
            self._processes[target] = self._running(1000 + len(self.receipts))
        return act()

    def _write(self, call: Step, act: Callable[[], T]) -> Tuple[Receipt, Optional[T]]:
        """Finds the license, lets ``act`` happen unless this is a dry-run, and files the receipt."""

        def written() -> Tuple[Receipt, Optional[T]]:
            phase, plan = self._phase
            wanted = (call.capability, call.verb, call.target, call.arguments)
            steps = [] if plan is None else plan.steps
            licenses = [
                (s.capability, s.verb, s.target, s.inverse if phase == "undo" else s.arguments) for s in steps
            ]
            if wanted not in licenses:
                raise CallError("denied", f"{call.capability}.{call.verb} {call.arguments}", "not-in-plan")
            answer = None if self._dry_run else act()
            step = licenses.index(wanted)
            made = Receipt(len(self.receipts), step, call.target, call.verb, not self._dry_run)
            self.receipts.append(made)
            return made, answer

        return self._call(f"{call.capability}.{call.verb}", written)

    def _process(self, target: str) -> process.ProcessStatus:
        if target not in self._processes:
            raise CallError("not-found", f"target `{target}` has no process")
        return self._processes[target]

    def _stop(self, target: str) -> None:
        self._process(target)
        self._processes[target] = process.ProcessStatus(last_exit="signal SIGTERM")

    def _start(self, target: str) -> None:
        self._stop(target)
        self._starting[target] = self.now + self._start_delay_ms * 1_000_000
        self._call("", lambda: None)

    def _history(self, target: str, key: str) -> List[config.Version]:
        if (target, key) not in self._config:
            raise CallError("not-found", f"target `{target}` has no key `{key}`")
        return list(self._config[(target, key)])

    def _set(self, target: str, key: str, value: Optional[str]) -> None:
        self._config.setdefault((target, key), []).insert(0, config.Version(value, self.now, False))

    def _answer(self, request: http.Request) -> http.Response:
        self.requests.append(request)
        answer = self._answers.get((request.target, request.path))
        return http.Response(404, [], b"") if answer is None else answer(request)

    def _send(self, request: http.Request) -> Tuple[http.Response, Receipt]:
        made, response = self._write(http.send_step(request), lambda: self._answer(request))
        # As the real host: a server that answers so did nothing; after the others it may have.
        if response and 400 <= response.status < 500 and response.status not in (408, 409, 425, 429):
            made.applied = False
            made.extra["refused"] = f"the server refused it with status {response.status}"
        return response or http.Response(200, [], b""), made

    @staticmethod
    def _best(entries: Sequence[Tuple[int, int, T]], window: Any, name: Callable[[T], Any]) -> List[T]:
        found: Dict[Any, Tuple[int, T]] = {}
        for start, end, stats in entries:
            overlap = min(end, window.to) - max(start, window.from_)
            if overlap > 0 and overlap > found.get(name(stats), (0, stats))[0]:
                found[name(stats)] = (overlap, stats)
        return [found[key][1] for key in sorted(found)]

    def _sleep(self, duration_ms: int) -> None:
        self.now += duration_ms * 1_000_000

    def _interfaces(self) -> Dict[str, Any]:
        """The contract's interfaces, as a component has them."""

        def within(entries: Iterable[Any], window: Any) -> List[Any]:
            return [entry for entry in entries if window.from_ <= entry.time < window.to]

        def write(step: Step, act: Callable[[], Any]) -> Receipt:
            return self._write(step, act)[0]

        return {
            "log": SimpleNamespace(write=lambda level, text, fields: self.logs.append((level, text, dict(fields)))),
            "clock": SimpleNamespace(now=lambda: self.now, sleep=self._sleep),
            "telemetry": SimpleNamespace(
                services=lambda window: self._best(self._services, window, lambda stats: stats.service),
                edges=lambda window: self._best(self._edges, window, lambda stats: (stats.caller, stats.callee)),
                changes=lambda window: sorted(within(self._changes, window), key=lambda change: -change.time),
                find=lambda service, prefix: [
                    info
                    for info, _ in self._series
                    if service in ("", info.service) and info.name.startswith(prefix)
                ],
                points=lambda series, window: [
                    point for info, points in self._series if info.id == series for point in within(points, window)
                ],
            ),
            "process": SimpleNamespace(
                status=lambda target: self._call("process.status", lambda: self._process(target)),
                start=lambda target: write(process.start_step(target), lambda: self._start(target)),
                stop=lambda target: write(process.stop_step(target), lambda: self._stop(target)),
                restart=lambda target: write(process.restart_step(target), lambda: self._start(target)),
            ),
            "config": SimpleNamespace(
                get=lambda target, key: self._call("config.get", lambda: self.config_value(target, key)),
                history=lambda target, key: self._call("config.history", lambda: self._history(target, key)),
                keys=lambda target: self._call(
                    "config.keys",
                    lambda: [(key, self.config_value(t, key)) for t, key in sorted(self._config) if t == target],
                ),
                set=lambda target, key, value: write(
                    config.set_step(target, key, value), lambda: self._set(target, key, value)
                ),
            ),
            "http": SimpleNamespace(
                get=lambda request: self._call("http.get", lambda: self._answer(request)),
                send=self._send,
            ),
            "notify": SimpleNamespace(
                send=lambda target, fields: write(
                    notify.send_step(target, fields), lambda: self.messages.append((target, dict(fields)))
                )
            ),
        }
