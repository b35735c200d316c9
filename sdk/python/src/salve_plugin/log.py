"""The host's log. It adds the plugin's name and the incident's id. At most 64 KiB a call; the host counts what is over.

Python's own ``logging`` and ``print`` write here, too.
"""

from __future__ import annotations

from typing import Mapping, Optional

from . import _host
from ._check import pairs, well_formed


def write(level: str, message: str, fields: Optional[Mapping[str, object]] = None) -> None:
    """Writes one message with named fields. ``level``: ``debug``, ``info``, ``warn`` or ``error``."""
    # While the component is built there is no host to hear it.
    if _host.has("log"):
        _host.interface("log").write(level, well_formed(str(message)), pairs(fields))


def debug(message: str, **fields: object) -> None:
    """Writes at level ``debug``."""
    write("debug", message, fields)


def info(message: str, **fields: object) -> None:
    """Writes at level ``info``."""
    write("info", message, fields)


def warn(message: str, **fields: object) -> None:
    """Writes at level ``warn``."""
    write("warn", message, fields)


def error(message: str, **fields: object) -> None:
    """Writes at level ``error``."""
    write("error", message, fields)
