"""The wear ledger: each byte written to flash has a cause and a day; from that, when flash wears out. Pure.

Owns the sums, and what is told of them. Does not own reading the kernel's count or the device's own health
(host/flashhealth.py), nor when the ledger is written to the ring (node/wearkeeper.py; it is a Wear record)::

    ledger = book(ledger, today, "update", ranges=[(33 << 20, 4096)])
    compare(ledger.bytes_written - at_boot, written_by_stat(stat_now) - written_by_stat(stat_at_boot)).agrees
    forecast(ledger, today, endurance(DEVICE_SIZE)).sentence
    over_budget(ledger, today)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import msgspec

from flashvisor.flash.ringplan import COMPACTION
from flashvisor.model.record import Wear
from flashvisor.model.size import show_size

if TYPE_CHECKING:
    from collections.abc import Iterable

ERASE_BLOCK = 128 << 10  # bytes; as the state ring assumes it (flash/ringformat.py)
CYCLES = 1_000  # erasures of a block; the low end of what makers of cheap MLC and TLC flash promise
DAYS_KEPT = 31  # days in the ledger; the rate of wear is their mean
DAILY_BUDGET = 100_000_000  # bytes; three whole slots
SECTOR = 512  # bytes; the unit of /sys/block/*/stat, whatever the device's own is
SECTORS_WRITTEN = 6  # field of stat (Linux, Documentation/block/stat.rst)


@dataclass(frozen=True)
class Comparison:
    """Bytes that the ledger booked in a span of time, and bytes that the kernel counted for the device in it."""

    booked: int
    counted: int

    @property
    def agrees(self) -> bool:
        """Whether every byte has a cause."""
        return self.booked == self.counted

    @property
    def sentence(self) -> str:
        """In plain words; the sums themselves grow on, their difference does not."""
        size = show_size(abs(self.counted - self.booked))
        if self.agrees:
            return "the kernel counted what flashvisor wrote to the flash device"
        if self.counted > self.booked:
            return f"{size} were written to the flash device since it appeared that flashvisor did not write"
        return f"{size} that flashvisor wrote to the flash device are missing in the kernel's count"


@dataclass(frozen=True)
class Overrun:
    """More was written on a day than its budget allows; `by_cause` is bytes, the largest first."""

    day: date
    written: int
    budget: int
    by_cause: tuple[tuple[str, int], ...]

    @property
    def sentence(self) -> str:
        """In plain words."""
        causes = ", ".join(f"{cause} {show_size(count)}" for cause, count in self.by_cause)
        return (
            f"{show_size(self.written)} were written to flash on {self.day}, budget {show_size(self.budget)}: {causes}"
        )


@dataclass(frozen=True)
class Forecast:
    """When flash wears out. `day` is None where it is too far away to name; `sentence` says what it is based on."""

    day: date | None
    sentence: str


def worn_by(ranges: Iterable[tuple[int, int]], erase_block: int = ERASE_BLOCK) -> int:
    """Returns an estimate of the bytes that flash erases for what is written between two flushes.

    It is the worst case of a device that gathers what it gets before a flush: each erase block that is touched is
    erased and programmed as a whole. No device tells what it really does.

    Args:
        ranges: Offset and length of each write, in bytes.
        erase_block: Bytes.
    """
    blocks: set[int] = set()
    for offset, length in ranges:
        if length:
            blocks.update(range(offset // erase_block, (offset + length - 1) // erase_block + 1))
    return len(blocks) * erase_block


def book(ledger: Wear, day: date, cause: str, ranges: Iterable[tuple[int, int]]) -> Wear:
    """Returns the ledger after a batch of writes that ended in a flush.

    Args:
        ledger: As it was.
        day: UTC. A clock that stands wrong makes a wrong day, never a wrong sum.
        cause: Why flash was written.
        ranges: Offset and length of each write, in bytes.
    """
    written = list(ranges)
    count = sum(length for _, length in written)
    days = {name: dict(row) for name, row in ledger.by_day.items()}
    row = days.setdefault(day.isoformat(), {})
    row[cause] = row.get(cause, 0) + count
    return msgspec.structs.replace(
        ledger,
        bytes_written=ledger.bytes_written + count,
        by_cause={**ledger.by_cause, cause: ledger.by_cause.get(cause, 0) + count},
        by_day=dict(sorted(days.items())[-DAYS_KEPT:]),
        worn=ledger.worn + worn_by(written),
    )


def catch_up(ledger: Wear, day: date, told: Iterable[tuple[str, int]], ring: int) -> Wear:
    """Returns the ledger with what the state ring wrote after it: before a cut of power, or since the last save.

    The sum is the ring's own, which every record carries, and is exact. Kept records tell the cause of their bytes.
    What none of them explains is booked to compaction: copies, and the odd record torn by a cut or dropped since.

    Args:
        ledger: As it was written.
        day: UTC; the days on which it was written are not known any more.
        told: Cause and bytes of each kept record from the ledger's own on.
        ring: The bytes that the ring has ever written.
    """
    missed = max(0, ring - ledger.ring)
    for cause, count in told:
        booked = min(count, missed)
        missed -= booked
        if booked:
            ledger = book(ledger, day, cause, [(0, booked)])
    if missed:
        ledger = book(ledger, day, COMPACTION, [(0, missed)])
    return msgspec.structs.replace(ledger, ring=ring)


def sums_only(ledger: Wear) -> Wear:
    """Returns what is kept of a ledger when a server forgets its owner: how worn the device is, not what was done."""
    return Wear(bytes_written=ledger.bytes_written, by_cause=ledger.by_cause, worn=ledger.worn)


def amplification(ledger: Wear) -> float | None:
    """Returns the estimated bytes erased for each byte written; None while nothing was written."""
    return ledger.worn / ledger.bytes_written if ledger.bytes_written else None


def written_by_stat(stat: str) -> int:
    """Returns the bytes that the kernel counted as written to a device since it appeared.

    Args:
        stat: The text of /sys/block/NAME/stat.

    Raises:
        ValueError: it is no such text.
    """
    fields = stat.split()
    if len(fields) <= SECTORS_WRITTEN:
        raise ValueError(f"no block device's stat: {stat!r}")
    return int(fields[SECTORS_WRITTEN]) * SECTOR


def compare(booked: int, counted: int) -> Comparison:
    """Returns how the ledger and the kernel agree on the bytes written in the same span of time."""
    return Comparison(booked, counted)


def over_budget(ledger: Wear, day: date, budget: int = DAILY_BUDGET) -> Overrun | None:
    """Returns an event if more was written on a day than `budget` bytes."""
    row = Counter(ledger.by_day.get(day.isoformat(), {}))
    written = row.total()
    return Overrun(day, written, budget, tuple(row.most_common())) if written > budget else None


def endurance(size: int, cycles: int = CYCLES) -> int:
    """Returns the bytes that a device of `size` bytes can erase in its life, if it levels wear over all of it."""
    return size * cycles


def forecast(ledger: Wear, today: date, life: int, *, used: float | None = None) -> Forecast:
    """Returns when flash wears out if it goes on as in the last days.

    Args:
        ledger: At least the last days of it.
        today: UTC.
        life: What it can take, as `endurance` says, in bytes.
        used: The share of its life that the device itself says is used up (NVMe, eMMC), 0 to 1; it goes first.
    """
    rate = _daily(ledger, today)
    share = used if used is not None else min(1.0, ledger.worn / life)
    basis = "by the device's own count" if used is not None else "by our estimate of what its maker promises"
    state = f"{share:.1%} of its life is used up, {basis}"
    if rate == 0:
        return Forecast(None, f"{state}; nothing was written in the last {DAYS_KEPT} days")
    left = (1 - share) * life / rate
    pace = f"at {show_size(round(rate))} a day, erasures estimated, mean of the days booked"
    if left > (date.max - today).days:
        return Forecast(None, f"{state}; {pace}, that is further away than a calendar goes")
    day = today + timedelta(days=int(left))
    return Forecast(day, f"{state}; {pace}, it lasts until {day}")


def _daily(ledger: Wear, today: date) -> float:
    """Returns the estimated bytes erased a day, over the span of the days booked, which may have been few."""
    booked = {date.fromisoformat(name): sum(row.values()) for name, row in ledger.by_day.items()}
    recent = {day: count for day, count in booked.items() if timedelta(0) <= today - day < timedelta(DAYS_KEPT)}
    if not recent:
        return 0.0
    span = (today - min(recent)).days + 1
    return sum(recent.values()) * (amplification(ledger) or 1.0) / span
