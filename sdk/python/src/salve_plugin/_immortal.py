"""Tells ``salve plugin build`` which objects are there when a component is finished.

An instance begins with a copy of the memory that the build leaves, and writing to a page of it is what costs most in a short call.
CPython writes to every object that it only looks at: its reference count. So the build makes the objects that stay for good
immortal (PEP 683), after which their counts are not written any more. Python code cannot do that; the build can, since it has the memory
as bytes, and it needs to know where the objects are.

The list is bytes with a mark in front, numbers of 32 bits, little-endian: the count of an immortal object; how many types follow; of each
its address, how many objects it has, and their addresses; the sum of all numbers before. The build looks at each object again: one that is
gone by then has no count and is left alone (``host/authoring/src/build/immortal.rs``).
"""

from __future__ import annotations

import gc
import sys
from types import CodeType
from typing import Any, Dict

#: In parts, so that the code of this module does not have it.
_MARK = ("salve", "immortal", "objects", "1")

#: The list, once it was made: it has to be in memory when the build looks for it.
_told = b""


def _word(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _known() -> Dict[int, bytearray]:
    """The addresses of every object that the collector knows and of what can be reached from them, by the address of their type.

    What this leaves behind in memory becomes part of the component, so it does without a set of numbers.
    """
    seen = bytearray()
    addresses: Dict[int, bytearray] = {}
    waiting = gc.get_objects()
    while waiting:
        thing = waiting.pop()
        address = id(thing)
        # Objects are eight bytes apart at least.
        byte, bit = address >> 6, 1 << (address >> 3 & 7)
        if byte >= len(seen):
            seen.extend(bytes(byte + 1 - len(seen)))
        if seen[byte] & bit:
            continue
        seen[byte] |= bit
        if sys.getrefcount(thing) < 1 << 30:
            addresses.setdefault(id(type(thing)), bytearray()).extend(_word(address))
        waiting.extend(gc.get_referents(thing))
        if type(thing) is CodeType:
            waiting += (thing.co_consts, thing.co_names, thing.co_name, thing.co_qualname, thing.co_filename)
            waiting += (thing.co_linetable, thing.co_exceptiontable)
    return addresses


def tell() -> None:
    """Makes the list, in a component whose interpreter counts in 32 bits and as CPython 3.14 does."""
    global _told
    # Names in code are immortal, and some of them part of the interpreter, which have another count.
    count = min(sys.getrefcount(name) for name in tell.__code__.co_names)
    if sys.maxsize != 2**31 - 1 or not 1 << 30 <= count < 6 << 28:
        return
    known = _known()
    numbers = bytearray(_word(count) + _word(len(known)))
    for kind, addresses in known.items():
        numbers += _word(kind) + _word(len(addresses) // 4) + addresses
    numbers += _word(sum(memoryview(numbers).cast("I")) & 0xFFFF_FFFF)
    _told = "-".join(_MARK).encode() + numbers
