"""Messages to people. The template is the operator's; the host escapes the fields for the channel."""

from __future__ import annotations

import json
from typing import Any, Sequence

from . import _host
from ._check import Pairs, pairs
from .action import Receipt, receipt
from .errors import CallError
from .plan import Step, step, target_id


def send(target: Any, fields: Pairs) -> Receipt:
    """Sends a message whose template has these fields.

    Raises ``CallError``; after ``timed-out`` nobody knows whether it arrived: do not repeat it.
    """
    return receipt(_host.interface("notify").send(target_id(target), pairs(fields)))


def send_step(target: Any, fields: Pairs) -> Step:
    """The step that licenses ``send`` with just these fields."""
    return step("notify", "send", target, {"fields": pairs(fields)})


def _perform(licensed: Step, _bodies: Sequence[bytes]) -> Receipt:
    if licensed.verb != "send":
        raise CallError("not-found", f"`notify` has no write `{licensed.verb}`")
    return send(licensed.target, json.loads(licensed.arguments)["fields"])
