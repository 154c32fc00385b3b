"""Two whole updates, recorded write by write on real firmware, and cut after each of these writes.

The first update goes into an empty slot, the second one over an older image. After each entry of the log the flash is
judged three times: as if all writes had arrived, as if none had that no flush had followed, and as if these had in part
(at any byte, as chance has it). Firmware's variables are another device; what matters is that they may lead to any slot
that the record calls startable, and that a server without them finds its way.

With FLASHVISOR_TABLE, the counts go into that page (docs/reliability.md).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from flashvisor.flash.layout import PARTITIONS
from flashvisor.flash.ring import Ring
from flashvisor.flash.slots import plan_start
from flashvisor.flash.slotview import PAIR, SetNext, derive
from flashvisor.lab.writelog import Entry, Flag
from flashvisor.model.bootentry import BootVariables
from flashvisor.model.record import RecordKind, Slots, decode
from flashvisor.model.slot import Slot, SlotState, hand_over
from lab.updating import put, watch
from sim.report import WRITES, put_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flashvisor.flash.layout import Region
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring
    from lab.variants import Variants

pytestmark = pytest.mark.lab

# What firmware may have been led to. A slot that was healthy once and is idle is factory's to check.
STARTABLE = (SlotState.WRITTEN, SlotState.TRYING, SlotState.COMMITTED)
FORGOTTEN = BootVariables(current=None, next=None, order=(), entries={})
SEED = 3
TWIN = "factory, with the same image as slot a"


@dataclass(frozen=True)
class Log:
    """What was written, and the flash before and after."""

    entries: tuple[Entry, ...]
    base: bytes
    end: bytes


class Part:
    """A partition of a medium, as a FlashDevice; its digest is taken anew only after a write."""

    def __init__(self, medium: bytearray, region: Region) -> None:
        self._medium, self._region = medium, region
        self.size = region.size
        self._digest = ""

    def read(self, offset: int, length: int) -> bytes:
        start = self._region.start + offset
        return bytes(self._medium[start : start + length])

    def write(self, offset: int, data: bytes) -> None:
        raise AssertionError("who judges a flash does not write to it")

    def flush(self) -> None:
        raise AssertionError("who judges a flash does not write to it")

    def touched(self, offset: int, length: int) -> None:
        if offset < self._region.end and offset + length > self._region.start:
            self._digest = ""

    def digest(self) -> str:
        self._digest = self._digest or hashlib.sha256(self.read(0, self.size)).hexdigest()
        return self._digest


class Medium:
    """A flash that grows by the entries of a log."""

    def __init__(self, base: bytes) -> None:
        self._bytes = bytearray(base)
        self.parts = {name: Part(self._bytes, region) for name, region in PARTITIONS.items()}

    def write(self, offset: int, data: bytes | memoryview) -> bytes:
        """Writes, and returns what was there before."""
        before = bytes(self._bytes[offset : offset + len(data)])
        self._bytes[offset : offset + len(data)] = data
        for part in self.parts.values():
            part.touched(offset, len(data))
        return before

    def content(self) -> bytes:
        return bytes(self._bytes)


def judge(medium: Medium, factory: str, identity: bytes) -> str:
    """Holds what must be true of any flash that power was taken from; returns what runs if firmware forgot all."""
    assert medium.parts["factory"].digest() == factory, "factory was written"
    ring = Ring.open(medium.parts["state"])
    kept, newest = ring.latest(RecordKind.IDENTITY), ring.latest(RecordKind.SLOTS)
    assert kept is not None and kept.payload == identity
    assert newest is not None
    record = decode(newest.payload, Slots)
    view = derive(FORGOTTEN, record, {slot: medium.parts[slot].digest() for slot in PAIR})
    for slot in PAIR:
        if view.note(slot).state in STARTABLE:
            assert slot in view.intact, (
                f"firmware may start slot {slot}, {view.note(slot)}: its bytes are not the verified"
            )
    chosen = hand_over(view.facts)
    assert chosen in view.intact, "no slot can start"
    led = [action.number for action in plan_start(view, 0.0) if isinstance(action, SetNext)]
    assert view.twin or led, "factory does not hand over"
    return TWIN if view.twin else f"slot {chosen}"


def torn(medium: Medium, waiting: list[Entry], chance: Random) -> Callable[[], None]:
    """Lets a part of what waits arrive; returns what takes it back."""
    undo = []
    for entry in chance.sample(waiting, len(waiting)):
        data = entry.data[: chance.randrange(len(entry.data) + 1)]
        undo.append((entry.offset, medium.write(entry.offset, data)))

    def back() -> None:
        for offset, before in reversed(undo):
            medium.write(offset, before)

    return back


def cuts(entries: tuple[Entry, ...], base: bytes, chance: Random) -> Iterator[tuple[str, Medium]]:
    """Yields the flash as each cut leaves it, and what became of the writes that no flush had followed."""
    arrived, kept, waiting = Medium(base), Medium(base), list[Entry]()
    for entry in entries:
        if entry.flags & Flag.FLUSH:
            for each in waiting:
                kept.write(each.offset, each.data)
            waiting.clear()
        if entry.data:
            arrived.write(entry.offset, entry.data)
            if entry.flags & Flag.FUA:
                kept.write(entry.offset, entry.data)
            else:
                waiting.append(entry)
        yield "all arrived", arrived
        yield "lost", kept
        if waiting:
            back = torn(kept, waiting, chance)
            yield "arrived in part, in any order", kept
            back()


@pytest.fixture(scope="module")
def log(
    power_on: Callable[..., Server], owner: Keyring, variants: Variants, tmp_path_factory: pytest.TempPathFactory
) -> Log:
    """What two updates wrote."""
    server, releases = power_on("logged", write_log=True), tmp_path_factory.mktemp("releases") / "dir"
    for image, version in ((variants.another(), "0.2"), (variants.shifted(), "0.3")):
        watch(server, owner, put(server, owner, releases, image, version))
    server.power_off()
    base = server.spec.flash.read_bytes()
    return Log(server.resting_flash.writes(), base, server.paths.flash.read_bytes())


def test_the_log_is_complete_and_ends_with_the_second_commit(log: Log) -> None:
    last = Medium(log.base)
    for entry in log.entries:
        last.write(entry.offset, entry.data)
    assert last.content() == log.end
    record = Ring.open(last.parts["state"]).latest(RecordKind.SLOTS)
    assert record is not None and decode(record.payload, Slots).committed is Slot.A


def test_each_prefix_of_two_updates_leads_to_a_verified_image(log: Log) -> None:
    tallies: dict[str, Counter[str]] = defaultdict(Counter)
    for fate, found in verdicts(log.entries, log.base):
        tallies[fate][found] += 1
    assert set(tallies["all arrived"]) == {TWIN, "slot a", "slot b"}
    if page := os.environ.get("FLASHVISOR_TABLE"):
        written = sum(len(entry.data) for entry in log.entries)
        total = sum(tally.total() for tally in tallies.values())
        last_row = f"| **all**: {len(log.entries):,} entries of the log, {written:,} bytes | {total:,} | |\n"
        put_table(Path(page), [row(fate, tally) for fate, tally in tallies.items()], last_row, WRITES)


@pytest.mark.parametrize("slot", PAIR)
def test_a_server_that_calls_a_slot_written_too_early_would_be_found(log: Log, slot: Slot) -> None:
    region = PARTITIONS[slot]
    into = [entry for entry in log.entries if entry.data and region.start <= entry.offset < region.end]
    late = tuple(entry for entry in log.entries if entry not in into) + tuple(into)
    with pytest.raises(AssertionError, match=f"firmware may start slot {slot}"):
        list(verdicts(late, log.base))


def verdicts(entries: tuple[Entry, ...], base: bytes) -> Iterator[tuple[str, str]]:
    """Judges the flash after each cut; yields what became of what waited, and what runs."""
    clean = Medium(base)
    factory, first = clean.parts["factory"].digest(), Ring.open(clean.parts["state"]).latest(RecordKind.IDENTITY)
    assert first is not None
    for fate, medium in cuts(entries, base, Random(SEED)):  # noqa: S311 it must be repeatable
        yield fate, judge(medium, factory, first.payload)


def row(fate: str, tally: Counter[str]) -> str:
    ran = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.items()))
    return f"| {fate} | {tally.total():,} | {ran} |\n"
