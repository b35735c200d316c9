"""What a component begins with. ``salve plugin build`` writes a module that calls this; authors do not."""

from __future__ import annotations

import gc
import importlib
from types import ModuleType, SimpleNamespace
from typing import Any, Callable

from . import _bridge, _guards, _heap, _host, _immortal, _rehearsal
from .errors import CallError, Failure

_INTERFACES = ("log", "clock", "telemetry", "config", "http", "notify", "process")


def _kebab(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def _call_error(variant: Any) -> CallError:
    """Of the contract's variant, whose class is named after its case: ``CallError_Denied(Denied_NotGranted(text))``."""
    kind = _kebab(type(variant).__name__.partition("_")[2])
    value = getattr(variant, "value", None)
    if kind != "denied":
        return CallError(kind, value)
    return CallError(kind, getattr(value, "value", None), _kebab(type(value).__name__.partition("_")[2]))


def _translated(call: Callable[..., Any], error: type) -> Callable[..., Any]:
    def translated(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except error as raised:
            raise _call_error(raised.value) from None  # type: ignore[attr-defined]

    return translated


def begin() -> None:
    """Connects the real host and replaces what does not exist in a component, before the author's module is loaded."""
    error = importlib.import_module("componentize_py_types").Err
    interfaces = {}
    for name in _INTERFACES:
        try:
            module = importlib.import_module(f"wit_world.imports.{name}")
        except ModuleNotFoundError:
            continue
        if name == "log":
            levels = {level.name.lower(): level for level in module.Level}
            write = module.write
            interfaces[name] = SimpleNamespace(write=lambda level, *rest: write(levels[level], *rest))
            continue
        calls = {key: value for key, value in vars(module).items() if callable(value) and not isinstance(value, type)}
        interfaces[name] = SimpleNamespace(**{key: _translated(value, error) for key, value in calls.items()})
    _host.connect(interfaces)
    _guards.install(component=True)


def exported(role: str, module: ModuleType) -> type:
    """The class that the component exports, around the one that the author registered."""
    base, bridge = _bridge.ROLES[role]
    found = [value for value in vars(module).values() if isinstance(value, type) and "__salve_plugin__" in vars(value)]
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found) or "none"
        raise TypeError(f"`{module.__name__}` must have one class with `@plugin` above it; it has {names}")
    cls = found[0]
    if not issubclass(cls, base):
        raise TypeError(
            f'plugin.toml says `role = "{role}"`; `{cls.__name__}` must be a subclass of `{base.__name__}`'
        )
    error = importlib.import_module("componentize_py_types").Err
    instance = bridge(cls, _refusal(role, error))

    class Exported:
        def __getattr__(self, name: str) -> Any:
            _guards.seal()
            call = getattr(instance, name)
            # A detector is called again and again; looking here once is enough. An action's instance has one call.
            if role == "detector":
                setattr(self, name, call)
            return call

    # What is there by now stays for good. A collection within a call would look at all of it, and write to all of it.
    _rehearsal.rehearse(role)
    gc.collect()
    _immortal.tell()
    gc.freeze()
    _heap.fill()
    return Exported


def _refusal(role: str, error: type) -> Callable[[Failure], BaseException]:
    if role != "action":
        return lambda failure: error(str(failure))
    variants = importlib.import_module("wit_world.exports.act")
    cases = {
        "not-applicable": variants.Failure_NotApplicable,
        "invalid": variants.Failure_Invalid,
        "failed": variants.Failure_Failed,
    }
    return lambda failure: error(cases[failure.kind](str(failure)))
