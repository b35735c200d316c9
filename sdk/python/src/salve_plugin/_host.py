"""The host's interfaces as this plugin's world has them, and the class that the author registered.

A component brings the real interfaces, a test scripted ones. They are there during a call and at no other time: while a
component is built there is no host.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, TypeVar

_interfaces: Optional[Dict[str, Any]] = None
_in_call = False

C = TypeVar("C", bound=type)


def plugin(cls: C) -> C:
    """Makes a class the plugin of its module. Put it above one subclass of ``Action``, ``Detector`` or ``Agent``."""
    cls.__salve_plugin__ = True
    return cls


def connect(interfaces: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """Brings the host's interfaces; gives back those before."""
    global _interfaces
    before, _interfaces = _interfaces, interfaces
    return before


def enter() -> bool:
    """Begins a call of the plugin, within which the host can be reached; gives back what ``leave`` must be given."""
    global _in_call
    before, _in_call = _in_call, True
    return before


def leave(before: bool) -> None:
    """Ends a call of the plugin."""
    global _in_call
    _in_call = before


def has(name: str) -> bool:
    """Whether an interface can be called now."""
    return _in_call and _interfaces is not None and name in _interfaces


def interface(name: str) -> Any:
    """An interface of the host, or an error that says why it is not there."""
    if has(name):
        return _interfaces[name]  # type: ignore[index]
    if _interfaces is None:
        raise RuntimeError(
            f"`{name}` was called without a host; in tests, run the plugin through `salve_plugin.testing`"
        )
    if not _in_call:
        raise RuntimeError(
            f"`{name}` was called while the module was loaded; call it within plan, execute, undo, consult or observe"
        )
    if name in ("clock", "telemetry"):
        raise RuntimeError(f"a detector has no `{name}`; use what the batch says, such as `batch.now`")
    raise RuntimeError(f"this plugin has no `{name}`; name the capability in plugin.toml")
