"""Calls while the component is built, so that those of its instances find the interpreter's own preparations made.

CPython adapts code to what it meets, numbers types and fills caches when they are first used. Every call of an action has a fresh
instance, so all of that would be done again in each one, and each page that it is written to is copied first. The author's code
is not called: it may expect a host.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import _bridge
from .action import Action, Outcome, Request
from .plan import Plan, step

#: Enough for CPython to adapt code.
_ROUNDS = 40


class _Rehearsed(Action):
    def plan(self, request: Request) -> Plan:
        plan = Plan("Rehearse")
        for target in request.targets:
            plan.step(step("process", "restart", target, {}))
        return plan

    def execute(self, request: Request, plan: Any) -> Outcome:
        return Outcome()


def _action() -> None:
    bridge = _bridge.ActionBridge(_Rehearsed, lambda failure: failure)
    make = importlib.import_module("wit_world.exports.act").Request
    target = importlib.import_module("wit_world.imports.types").Target
    for _ in range(_ROUNDS):
        targets = [target(id=name, attributes=[("service.name", name)]) for name in ("a", "b")]
        raw = make(incident="rehearsal", targets=targets, parameters='{"a":"b"}', started=0, now=0)
        bridge.execute(raw, bridge.plan(raw))


def rehearse(role: str) -> None:
    """Goes through the calls of a role that come often: an action's `plan` and `execute`."""
    if role == "action":
        _action()
