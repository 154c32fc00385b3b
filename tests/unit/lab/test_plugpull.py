"""What a pulled plug leaves of a write log: whatever was flushed, and any part of the rest."""

from __future__ import annotations

from random import Random

from flashvisor.lab.writelog import Entry, Flag, replay
from lab.plugpull import cut_flash

SECTOR = 512
BASE = bytes(8 * SECTOR)


def write(sector: int, byte: bytes, count: int = 1) -> Entry:
    return Entry(sector * SECTOR, count * SECTOR, Flag(0), memoryview(byte * (count * SECTOR)))


FLUSH = Entry(0, 0, Flag.FLUSH, memoryview(b""))
ENTRIES = (write(0, b"a", 2), FLUSH, write(1, b"b", 2), write(5, b"c"))


def left(seed: int, entries: tuple[Entry, ...] = ENTRIES) -> bytes:
    return cut_flash(entries, BASE, Random(seed))  # noqa: S311 it must be repeatable


def test_nothing_that_was_flushed_is_lost() -> None:
    for seed in range(20):
        assert left(seed, (*ENTRIES, FLUSH)) == replay(ENTRIES, BASE, 4)


def test_what_waits_may_arrive_in_whole_in_part_or_not_at_all_and_the_same_seed_does_the_same() -> None:
    media = [left(seed) for seed in range(60)]
    assert media == [left(seed) for seed in range(60)]
    assert {medium[0:SECTOR] for medium in media} == {b"a" * SECTOR}
    assert {bytes(replay(ENTRIES, BASE, 2)), bytes(replay(ENTRIES, BASE, 4))} < set(media)
    torn = {medium[SECTOR : 2 * SECTOR] for medium in media} - {b"a" * SECTOR, b"b" * SECTOR}
    assert torn and all(set(part) == set(b"ab") for part in torn)
    assert all(set(medium[3 * SECTOR : 5 * SECTOR]) == {0} for medium in media)
