"""Checks of what a plugin gives to the host: a component ends without a word if a type does not fit, so it is said here."""

from __future__ import annotations

from typing import Any, Callable, Iterable, List, Mapping, Optional, Tuple, Union

Pairs = Union[Mapping[str, object], Iterable[Tuple[str, object]], None]


def _fail(path: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{path} must be {wanted}, it is {value!r:.80}")


def well_formed(value: str) -> str:
    """The text with U+FFFD for what UTF-8 cannot carry."""
    try:
        value.encode()
        return value
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _fail(path, "a text", value)
    return well_formed(value)


def optional_text(value: Any, path: str) -> Optional[str]:
    return None if value is None else text(value, path)


def number(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _fail(path, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise _fail(path, "a number of 64 bits", value) from None


def optional_number(value: Any, path: str) -> Optional[float]:
    return None if value is None else number(value, path)


def boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _fail(path, "True or False", value)
    return value


def whole(value: Any, path: str, bits: int = 64) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise _fail(path, f"a whole number of {bits} bits from 0", value)
    return value


def listed(value: Any, path: str, each: Callable[[Any, str], Any]) -> List[Any]:
    if not isinstance(value, list) and (isinstance(value, (str, bytes)) or not hasattr(value, "__iter__")):
        raise _fail(path, "a list", value)
    return [each(part, f"{path}[{index}]") for index, part in enumerate(value)]


def pairs(value: Pairs) -> List[Tuple[str, str]]:
    """Pairs of text, of a mapping or of pairs."""
    if value is None:
        return []
    items = value.items() if isinstance(value, Mapping) else value
    return [(well_formed(str(name)), well_formed(str(content))) for name, content in items]


def instance(value: Any, path: str, cls: type) -> Any:
    if not isinstance(value, cls):
        raise _fail(path, f"of class {cls.__name__}", value)
    return value
