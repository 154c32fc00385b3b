"""The write log: what QEMU and the kernel's dm-log-writes write, and media made of a part of it."""

from __future__ import annotations

import struct

import pytest

from flashvisor.errors import WriteLogError
from flashvisor.lab.writelog import MAGIC, Flag, flushes, parse, replay, waiting

SECTOR = 512
BASE = bytes(8 * SECTOR)
WRITE = Flag(0)


def sector(data: bytes) -> bytes:
    return data.ljust(SECTOR, b"\0")


def entry(first: int, data: bytes = b"", flags: Flag = WRITE, sectors: int | None = None) -> bytes:
    """An entry as it lies in the log, with its data."""
    count = len(data) // SECTOR if sectors is None else sectors
    return sector(struct.pack("<QQQQ", first, count, flags, 0)) + data


def log(*entries: bytes, count: int | None = None, magic: int = MAGIC, version: int = 1) -> bytes:
    head = struct.pack("<QQQI", magic, version, len(entries) if count is None else count, SECTOR)
    return sector(head) + b"".join(entries)


A, B, C = (bytes([byte]) * SECTOR for byte in b"abc")
FLUSH = entry(0, flags=Flag.FLUSH)
# Two writes, a flush, then two writes of which the first is two sectors long, and one past the cache.
LOG = log(entry(1, A), entry(2, B), FLUSH, entry(1, C + C), entry(5, A), entry(6, B, Flag.FUA))


def test_entries_are_read_in_order_with_their_bytes() -> None:
    entries = parse(LOG)
    assert [(each.offset, each.length, each.flags) for each in entries] == [
        (512, 512, WRITE), (1024, 512, WRITE), (0, 0, Flag.FLUSH), (512, 1024, WRITE), (2560, 512, WRITE),
        (3072, 512, Flag.FUA),
    ]  # fmt: skip
    assert bytes(entries[3].data) == C + C


def test_a_discard_has_no_bytes_behind_it_and_changes_none() -> None:
    entries = parse(log(entry(1, A), entry(0, flags=Flag.DISCARD, sectors=8), entry(3, B)))
    assert bytes(entries[2].data) == B
    assert replay(entries, BASE, 3)[: 4 * SECTOR] == bytes(SECTOR) + A + bytes(SECTOR) + B


def test_other_sizes_of_a_sector_are_read() -> None:
    head = struct.pack("<QQQI", MAGIC, 1, 1, 4096).ljust(4096, b"\0")
    item = struct.pack("<QQQQ", 1, 1, 0, 0).ljust(4096, b"\0")
    (only,) = parse(head + item + b"x" * 4096)
    assert (only.offset, only.length) == (4096, 4096)


def test_a_log_that_was_never_begun_is_empty_and_only_what_it_counts_is_read() -> None:
    assert parse(b"") == ()
    assert len(parse(log(entry(1, A), entry(2, B), count=1))) == 1


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (LOG[:-1], "entry 5 of 6 ends at byte"),
        (log(count=1), "entry 0 of 1 ends at byte"),
        (LOG[:20], "its first sector ends"),
        (log(magic=MAGIC + 1), "expected a write log of version 1"),
        (log(version=2), "expected a write log of version 1"),
        (log(entry(1, A, Flag(64))), "flags 0x40"),
    ],
)
def test_what_is_no_log_is_refused(damaged: bytes, words: str) -> None:
    with pytest.raises(WriteLogError, match=words):
        parse(damaged)


def test_what_no_flush_has_followed_waits() -> None:
    entries = parse(LOG)
    assert [waiting(entries, cut) for cut in range(7)] == [(), (0,), (0, 1), (), (3,), (3, 4), (3, 4)]
    assert flushes(entries) == (3,)


def test_a_prefix_is_the_medium_as_it_was() -> None:
    entries = parse(LOG)
    assert replay(entries, BASE, 0) == BASE
    assert replay(entries, BASE, 3) == bytes(SECTOR) + A + B + bytes(5 * SECTOR)
    assert replay(entries, BASE, 6) == bytes(SECTOR) + C + C + bytes(2 * SECTOR) + A + B + bytes(SECTOR)


def test_waiting_writes_may_be_lost_or_torn_and_others_may_not() -> None:
    entries = parse(LOG)
    torn = replay(entries, BASE, 6, arrived={3: 700, 4: 0})
    assert torn == bytes(SECTOR) + C + C[:188] + B[188:] + bytes(3 * SECTOR) + B + bytes(SECTOR)
    for held in (1, 5):  # flushed; written past the cache
        with pytest.raises(ValueError, match=rf"\[{held}\] do not wait"):
            replay(entries, BASE, 6, arrived={held: 0})
