"""Keys of configuration files (TOML, YAML, JSON, .env). A set is taken back by a set of the value before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple

from . import _host
from ._check import well_formed
from .action import Receipt, receipt
from .errors import CallError
from .plan import Step, step, target_id


@dataclass
class Version:
    """One version of a key: None is an absent key, ``since`` is in Unix nanoseconds.

    ``good``: it was in force for the configured time with no open incident on the target.
    """

    value: Optional[str]
    since: int
    good: bool


def _text(value: object) -> Optional[str]:
    if value is None:
        return None
    # As files write it.
    return str(value).lower() if isinstance(value, bool) else well_formed(str(value))


def get(target: Any, key: str) -> Optional[str]:
    """The value of a key (a dotted path, for instance ``pool.size``); None if it is absent. Raises ``CallError``."""
    return _host.interface("config").get(target_id(target), key)


def history(target: Any, key: str) -> List[Version]:
    """Versions of a key, newest first; the first is in force. Raises ``CallError``."""
    return _host.interface("config").history(target_id(target), key)


def keys(target: Any) -> List[Tuple[str, Optional[str]]]:
    """Keys that may be read here, with the value in force. Raises ``CallError``."""
    return _host.interface("config").keys(target_id(target))


def set(target: Any, key: str, value: object) -> Receipt:  # noqa: A001
    """Sets one key, keeping type, comments, owner and mode of the file; None removes it. Raises ``CallError``."""
    return receipt(_host.interface("config").set(target_id(target), key, _text(value)))


def set_step(target: Any, key: str, value: object) -> Step:
    """The step that licenses ``set`` with just this key and value."""
    return step("config", "set", target, {"key": key, "value": _text(value)})


def _perform(licensed: Step, _bodies: Sequence[bytes]) -> Receipt:
    if licensed.verb != "set":
        raise CallError("not-found", f"`config` has no write `{licensed.verb}`")
    arguments = json.loads(licensed.arguments)
    return set(licensed.target, arguments["key"], arguments["value"])
