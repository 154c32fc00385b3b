"""What was written to a virtual server's flash, and the flash as it would be had power gone earlier. Pure.

Owns reading QEMU's write log, and which writes a cut of power may take. Does not own making the log (machine.py)::

    entries = server.resting_flash.writes()
    image = replay(entries, spec.flash.read_bytes(), cut=40)            # everything written had arrived
    lost = {number: 0 for number in waiting(entries, 40)}               # nothing that no flush had asked for
    image = replay(entries, spec.flash.read_bytes(), cut=40, arrived=lost)

Sources: the kernel's Documentation/admin-guide/device-mapper/log-writes.rst and drivers/md/dm-log-writes.c for the
format, QEMU's block/blklogwrites.c for how QEMU writes it: an entry comes after the write that it tells of, or with the
flush, and data follow their entry in whole sectors.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntFlag
from typing import TYPE_CHECKING

from flashvisor.errors import WriteLogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAGIC = 0x6A736677736872
VERSION = 1
_SUPER = struct.Struct("<QQQI")  # magic, version, entries, bytes of a sector
_ENTRY = struct.Struct("<QQQQ")  # first sector, sectors, flags, bytes of a mark's text (in the entry's own sector)


class Flag(IntFlag):
    """What an entry is besides a write."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8


@dataclass(frozen=True)
class Entry:
    """A write, or a flush.

    Args:
        offset: Where it begins, in bytes.
        length: In bytes; 0 for a flush.
        flags: What it is.
        data: What was written; nothing for a flush or a discard.
    """

    offset: int
    length: int
    flags: Flag
    data: memoryview = field(repr=False)


def parse(log: bytes) -> tuple[Entry, ...]:
    """Returns the entries of a log, oldest first; an empty log, of a server that wrote nothing yet, has none.

    Raises:
        WriteLogError: it is no such log, or shorter than it says.
    """
    return tuple(_entries(memoryview(log))) if log else ()


def waiting(entries: Sequence[Entry], cut: int) -> tuple[int, ...]:
    """Returns the numbers of the writes that no flush had followed when power went after the first `cut` entries.

    They may have reached the medium in any order, in whole, in part or not at all. A write that was ordered past the
    cache (FUA) does not wait.
    """
    numbers: list[int] = []
    for number, entry in enumerate(entries[:cut]):
        if entry.flags & Flag.FLUSH:
            numbers.clear()
        if entry.data and not entry.flags & Flag.FUA:
            numbers.append(number)
    return tuple(numbers)


def flushes(entries: Sequence[Entry]) -> tuple[int, ...]:
    """Returns the cuts at which nothing waits because a flush came last: `cut` for `replay`."""
    return tuple(number + 1 for number, entry in enumerate(entries) if entry.flags & Flag.FLUSH and not entry.data)


def replay(entries: Sequence[Entry], base: bytes, cut: int, arrived: Mapping[int, int] | None = None) -> bytearray:
    """Returns the medium after a cut of power. What was discarded keeps its bytes.

    Args:
        entries: The log's.
        base: The medium when the log began.
        cut: How many entries there had been.
        arrived: For waiting writes, by number: how many bytes of them arrived, from their first. The others did whole.

    Raises:
        ValueError: a write in `arrived` did not wait: no medium that keeps its word loses it.
    """
    lost = arrived or {}
    if held := lost.keys() - set(waiting(entries, cut)):
        raise ValueError(f"the writes {sorted(held)} do not wait at {cut}")
    image = bytearray(base)
    for number, entry in enumerate(entries[:cut]):
        data = entry.data[: lost.get(number, len(entry.data))]
        image[entry.offset : entry.offset + len(data)] = data
    return image


def _entries(log: memoryview) -> Iterator[Entry]:
    magic, version, count, sector = _SUPER.unpack(_part(log, 0, _SUPER.size, "its first sector"))
    if (magic, version) != (MAGIC, VERSION) or sector < _ENTRY.size:
        raise WriteLogError(f"expected a write log of version {VERSION} ({MAGIC:#x}), got {version} ({magic:#x})")
    at = sector
    for number in range(count):
        name = f"entry {number} of {count}"
        first, sectors, flags, _ = _ENTRY.unpack(_part(log, at, _ENTRY.size, name))
        if flags & ~sum(Flag):
            raise WriteLogError(f"{name} has flags {flags:#x}, which are not known")
        at += sector
        length = 0 if flags & Flag.DISCARD else sectors * sector
        yield Entry(first * sector, sectors * sector, Flag(flags), _part(log, at, length, name))
        at += length


def _part(log: memoryview, start: int, length: int, name: str) -> memoryview:
    if start + length > len(log):
        raise WriteLogError(f"{name} ends at byte {start + length} of a log of {len(log)} bytes")
    return log[start : start + length]
