"""Leaves the heap so that what a call allocates is in one place.

The allocator takes the smallest hole that fits, and loading modules leaves thousands of holes: each object of a call would be made on
another page, and each page that a call writes to is copied first. So the holes are filled before the component is finished, for good, and
room is left at the end, of which a call then takes.
"""

from __future__ import annotations

from typing import Any, List

#: Bytes at the end that are left: more than any hole has, and what a call can take before memory grows.
_ROOM_BYTES = 1 << 20
#: The largest holes that are filled; more is never taken for what is small.
_HOLE_BYTES_MAX = 1 << 19
#: Bytes of an empty ``bytes`` with what the allocator adds.
_EMPTY_BYTES = 24
#: Most holes that are filled.
_HOLES_MAX = 1 << 16

_fillers: List[Any] = []


def _sizes() -> List[int]:
    """Sizes of chunks, the largest first: what is left of a hole is filled by a smaller one."""
    sizes = []
    size = _HOLE_BYTES_MAX
    while size > _EMPTY_BYTES:
        sizes.append(size)
        size = size - 16 if size <= 1024 else size * 7 // 8 // 16 * 16
    return sizes


def fill() -> None:
    """Fills the holes, and leaves room. What is freed later makes new ones; there is little of that."""
    global _fillers
    sizes = _sizes()
    fillers = [None] * _HOLES_MAX
    index = 0
    room = bytes(_ROOM_BYTES)
    end = id(room)
    for size in sizes:
        while index < _HOLES_MAX:
            filler = bytes(size - _EMPTY_BYTES + 1)
            if id(filler) > end:
                break
            fillers[index] = filler
            index += 1
    while index < _HOLES_MAX:
        filler = object()
        if id(filler) > end:
            break
        fillers[index] = filler
        index += 1

    _fillers = fillers
    filler = room = None
