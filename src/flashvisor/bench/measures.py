"""From samples to results: medians, spread, ratios, and whether a goal is met. Pure.

Owns the names and goals of what is measured. Does not own measuring (runs.py)::

    results = compare(samples)
    results[0].row.ratio, results[0].ours.low, results[0].verdict
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

DEBIAN = "Debian 13 with libvirt"
BARE_KERNEL = "the same kernel with a bare static init"
SECONDS, BYTES = "s", "bytes"
DIGITS = 4  # of a ratio, after the point


class Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of results.jsonl. Values are medians of `runs` runs, in `unit`; `ratio` is ours by the peer's."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float
    ratio: float
    runs: int


@dataclass(frozen=True)
class Series:
    """What several runs gave: median, smallest and largest."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Goal:
    """What is wanted: the ratio, or our own value in the measure's unit, is at most `limit`."""

    limit: float
    of_ratio: bool = True


@dataclass(frozen=True)
class Result:
    """A measure: the row, and the spread behind it."""

    row: Row
    ours: Series
    theirs: Series
    goal: Goal | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, before anything is rounded; None if there is none."""
        if self.goal is None:
            return None
        measured = self.ours.median / self.theirs.median if self.goal.of_ratio else self.ours.median
        return measured <= self.goal.limit


@dataclass(frozen=True)
class Samples:
    """All that was measured, one value a run: seconds since power-on, and bytes."""

    slot: float
    peer_installed: float
    ready: Sequence[float]
    peer_ready: Sequence[float]
    bare_init: Sequence[float]
    answer: Sequence[float]
    peer_answer: Sequence[float]
    ram: Sequence[float]
    peer_ram: Sequence[float]


GOALS = {
    "slot_bytes": Goal(1 / 20),
    "ready_vs_bare_kernel_s": Goal(2.5),
    "guest_answer_s": Goal(1 / 3),
    "host_ram_bytes": Goal(160 * (1 << 20), of_ratio=False),
}


def summarize(values: Sequence[float]) -> Series:
    """Returns median and spread of at least one value."""
    if not values:
        raise RuntimeError("nothing was measured yet")
    return Series(median=statistics.median(values), low=min(values), high=max(values), count=len(values))


def compare(samples: Samples) -> list[Result]:
    """Returns all measures of a benchmark."""
    return [
        _result("slot_bytes", BYTES, DEBIAN, [samples.slot], [samples.peer_installed]),
        _result("ready_s", SECONDS, DEBIAN, samples.ready, samples.peer_ready),
        _result("ready_vs_bare_kernel_s", SECONDS, BARE_KERNEL, samples.ready, samples.bare_init),
        _result("guest_answer_s", SECONDS, DEBIAN, samples.answer, samples.peer_answer),
        _result("host_ram_bytes", BYTES, DEBIAN, samples.ram, samples.peer_ram),
    ]


def _result(name: str, unit: str, peer: str, ours: Sequence[float], theirs: Sequence[float]) -> Result:
    if len(ours) != len(theirs):
        raise RuntimeError(f"{name}: {len(ours)} runs of ours and {len(theirs)} of the peer's")
    mine, other = summarize(ours), summarize(theirs)
    row = Row(
        name=name,
        value=_rounded(mine.median, unit),
        unit=unit,
        peer=peer,
        peer_value=_rounded(other.median, unit),
        ratio=round(mine.median / other.median, DIGITS),
        runs=mine.count,
    )
    return Result(row, mine, other, GOALS.get(name))


def _rounded(value: float, unit: str) -> float:
    return round(value) if unit == BYTES else round(value, 2)
