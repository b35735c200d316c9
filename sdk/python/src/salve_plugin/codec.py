"""Bytes of detector snapshots: little-endian numbers and texts, one after the other."""

from __future__ import annotations

import math
import struct
from typing import Any

from .errors import Invalid

_U8, _U32, _U64, _F64 = (struct.Struct(code) for code in ("<B", "<I", "<Q", "<d"))


class Writer:
    """Writes a snapshot."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def _put(self, layout: struct.Struct, value: Any) -> "Writer":
        self._bytes += layout.pack(value)
        return self

    def u8(self, value: int) -> "Writer":
        """Appends a number of one byte."""
        return self._put(_U8, value)

    def u32(self, value: int) -> "Writer":
        """Appends a number of four bytes."""
        return self._put(_U32, value)

    def u64(self, value: int) -> "Writer":
        """Appends a number of eight bytes."""
        return self._put(_U64, value)

    def f64(self, value: float) -> "Writer":
        """Appends a double."""
        return self._put(_F64, value)

    def text(self, value: str) -> "Writer":
        """Appends a text with its length."""
        encoded = value.encode(errors="replace")
        self.u32(len(encoded))
        self._bytes += encoded
        return self

    def bytes(self) -> bytes:
        """The bytes written so far."""
        return bytes(self._bytes)


class Reader:
    """Reads a snapshot. Bytes may come from a broken disk, so every read can raise ``Invalid``."""

    def __init__(self, data: bytes) -> None:
        self._bytes = bytes(data)
        self._at = 0

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self._bytes) - self._at

    def _take(self, count: int) -> bytes:
        if count > self.remaining:
            raise Invalid("the snapshot ends too early")
        self._at += count
        return self._bytes[self._at - count : self._at]

    def _get(self, layout: struct.Struct) -> Any:
        return layout.unpack(self._take(layout.size))[0]

    def u8(self) -> int:
        """The next number of one byte."""
        return self._get(_U8)

    def u32(self) -> int:
        """The next number of four bytes."""
        return self._get(_U32)

    def u64(self) -> int:
        """The next number of eight bytes."""
        return self._get(_U64)

    def f64(self) -> float:
        """The next double."""
        return self._get(_F64)

    def finite(self) -> float:
        """The next double, which must be finite."""
        value = self.f64()
        if not math.isfinite(value):
            raise Invalid("the snapshot holds a number that is not finite")
        return value

    def text(self) -> str:
        """The next text."""
        return self._take(self.u32()).decode(errors="replace")
