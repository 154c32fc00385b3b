"""A whole server in memory: flash, firmware, an agent that does what the plans say, and a plug that can be pulled.

Every write to flash, every flush and every change of a UEFI variable is an event; power is cut at one of them. The
agent is as short as can be: plan_start, then health, then plan_commit.

    server = SlotSim(burnt())
    server.settle()
    server.power.limit = 17
    with contextlib.suppress(PowerCut): server.update(NEW)
    server = server.again()
    server.settle()
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from flashvisor.flash.carryout import Hands, carry_out
from flashvisor.flash.ring import Ring
from flashvisor.flash.ringformat import Geometry
from flashvisor.flash.slots import Release, plan_commit, plan_factory_reset, plan_rollback, plan_start, plan_update
from flashvisor.flash.slotview import PAIR, Action, View, derive
from flashvisor.flash.update import BLOCK
from flashvisor.model.record import RecordKind, SlotNote, Slots, decode, encode
from flashvisor.model.slot import Slot, SlotState
from sim.flashsim import FlashSim, PowerCut
from sim.uefisim import UefiSim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCKS = 40  # of a slot
SLOT = BLOCKS * BLOCK  # bytes
RING = Geometry(24 * 4096, segment=4096, page=512)
STARTS = {Slot.FACTORY: 0, Slot.A: SLOT, Slot.B: 2 * SLOT}
STATE = 3 * SLOT
SIZE = STATE + RING.size
BOOTS = 8  # at most, until a server has settled


def _image(seed: int, *, changed: range) -> bytes:
    """Slot contents that share most blocks, as releases do."""
    blocks = [Random(block).randbytes(BLOCK) for block in range(BLOCKS)]  # noqa: S311 it must be repeatable
    for block in changed:
        blocks[block] = Random(1000 * seed + block).randbytes(BLOCK)  # noqa: S311
    return b"".join(blocks)


OLD = _image(0, changed=range(0))
NEW = _image(1, changed=range(1, 37))
THIRD = _image(3, changed=range(3, 39))
BAD = _image(2, changed=range(2, 38))  # signed and whole, and never becomes healthy
VERIFIED = {"old": OLD, "new": NEW, "third": THIRD, "bad": BAD}
EMPTY = bytes(SLOT)


class ResetNow(Exception):  # noqa: N818 it is an event, not an error
    """The server starts through firmware."""


@dataclass
class Power:
    """Counts events, and cuts at the one with the number `limit`."""

    limit: int | None = None
    count: int = 0

    def due(self) -> bool:
        """Counts an event; returns whether power goes right before it."""
        self.count += 1
        return self.limit is not None and self.count > self.limit


class PoweredFlash(FlashSim):
    """FlashSim whose plug is pulled by `Power`, at a flush as well."""

    def __init__(self, size: int, power: Power, *, content: bytes, chance: Random | None = None) -> None:
        super().__init__(size, content=content, chance=chance)
        self.power = power

    def write(self, offset: int, data: bytes) -> None:
        if self.power.due():
            self.cut_after = len(self.writes)
        super().write(offset, data)

    def flush(self) -> None:
        if self.power.due():
            self.cut()
            raise PowerCut
        super().flush()


@dataclass(frozen=True)
class Window:
    """A range of a FlashSim as a SlotDevice."""

    flash: FlashSim
    start: int
    size: int

    def read(self, offset: int, length: int) -> bytes:
        return self.flash.read(self.start + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        assert 0 <= offset <= offset + len(data) <= self.size
        self.flash.write(self.start + offset, data)

    def flush(self) -> None:
        self.flash.flush()

    def forget_cache(self) -> None:
        self.flash.forget_cache()


@dataclass(frozen=True)
class Snapshot:
    """All that survives a cut of power."""

    medium: bytes
    variables: dict[str, bytes] = field(default_factory=dict)

    def key(self) -> bytes:
        """Tells snapshots apart."""
        return hashlib.sha256(self.medium + repr(sorted(self.variables.items())).encode()).digest()


def release(content: bytes) -> Release:
    """A release whose slot content is `content`."""
    digest = hashlib.sha256(content).hexdigest()
    return Release(image=digest, slot_sha256=digest, version="1.0")


def burnt() -> Snapshot:
    """A device as it is shipped: old in factory and a, b empty, a committed."""
    flash = FlashSim(SIZE, content=OLD + OLD + EMPTY + bytes(RING.size))
    digest = hashlib.sha256(OLD).hexdigest()
    a = SlotNote(state=SlotState.COMMITTED, sha256=digest, image=digest, version="0.9")
    ring = Ring.open(Window(flash, STATE, RING.size), RING)
    ring.append(RecordKind.IDENTITY, b"who", cause="burn")
    ring.append(RecordKind.SLOTS, encode(Slots(when=0.0, committed=Slot.A, a=a, factory=digest)), cause="burn")
    return Snapshot(bytes(flash.medium), {})


class SlotSim:
    """The server. After PowerCut, `again` is the server that somebody switches on afterwards."""

    def __init__(
        self, snapshot: Snapshot, *, seed: int = 0, limit: int | None = None, early: bool = False, secure: bool = False
    ) -> None:
        self.power = Power(limit)
        self._chance = Random(seed)  # noqa: S311 it must be repeatable
        self.flash = PoweredFlash(SIZE, self.power, content=snapshot.medium, chance=self._chance)
        self.firmware = UefiSim(self._event, snapshot.variables, checked=secure)
        self.running = Slot.FACTORY
        self.booted: list[Slot] = []
        self.early = early  # a bad image dies before its agent's first act
        self.secure = secure  # firmware checks signatures
        self.slot_bytes = 0
        self._content = OLD

    def snapshot(self) -> Snapshot:
        """What would survive."""
        return Snapshot(bytes(self.flash.medium), dict(self.firmware.variables))

    def again(self, *, limit: int | None = None, seed: int = 0) -> SlotSim:
        """The same server, switched on again."""
        return SlotSim(self.snapshot(), seed=seed, limit=limit, early=self.early, secure=self.secure)

    def slot(self, slot: Slot) -> bytes:
        """A slot's bytes."""
        return bytes(self.flash.medium[STARTS[slot] : STARTS[slot] + SLOT])

    def runs(self) -> str:
        """What the server runs: the name of a verified image. Anything else is the failure that all this is about."""
        names = [name for name, content in VERIFIED.items() if content == self.slot(self.running)]
        assert names, f"slot {self.running} was started, and its bytes were never verified"
        return names[0]

    def settle(self) -> str:
        """Starts the server, and again while it resets itself; returns what runs in the end."""
        for _ in range(BOOTS):
            self.running = self.firmware.choose(self._loadable)
            self.booted.append(self.running)
            name = self.runs()
            if name == "bad" and self.early:
                continue
            try:
                self.do(plan_start(self.seen(commit=False), 1.0))
                if name == "bad":
                    continue
                self.do(plan_commit(self.seen(commit=True), 2.0))
            except ResetNow:
                continue
            return name
        raise AssertionError(f"the server goes round: {self.booted}")

    def seen(self, *, commit: bool) -> View:
        """What the agent knows when it starts: it reads no slot that it need not."""
        return self.view(self.view(()).to_read(commit=commit))

    def view(self, read: Sequence[Slot] = PAIR) -> View:
        """What the agent knows once it has read slots."""
        record = self.ring().latest(RecordKind.SLOTS)
        digests = {slot: hashlib.sha256(self.slot(slot)).hexdigest() for slot in read}
        return derive(self.firmware.boot_variables(), decode(record.payload, Slots) if record else None, digests)

    def ring(self) -> Ring:
        """The state ring as it is in flash."""
        return Ring.open(Window(self.flash, STATE, RING.size), RING)

    def update(self, content: bytes) -> None:
        """An update, to the reset at its end."""
        self._content = content
        self._to_reset(plan_update(self.view(), release(content), 3.0, force=True))

    def rollback(self) -> None:
        """A rollback, to the reset at its end."""
        self._to_reset(plan_rollback(self.view(), 3.0))

    def factory_reset(self) -> None:
        """Back to factory, to the reset at its end."""
        self._to_reset(plan_factory_reset(self.view(), 3.0, keep_site=True))

    def do(self, actions: list[Action]) -> None:
        """Carries out a plan."""
        carry_out(actions, self._hands())

    def _loadable(self, slot: Slot) -> bool:
        return self.slot(slot) in VERIFIED.values() if self.secure else self.slot(slot) != EMPTY

    def _to_reset(self, actions: list[Action]) -> None:
        try:
            self.do(actions)
        except ResetNow:
            return
        raise AssertionError("the plan does not end in a reset")

    def _event(self) -> None:
        if self.power.due():
            self.flash.cut()
            raise PowerCut

    def _hands(self) -> Hands:
        ring = self.ring()

        @contextmanager
        def slot(name: Slot) -> Iterator[Window]:
            yield Window(self.flash, STARTS[name], SLOT)

        @contextmanager
        def content(_: Slot) -> Iterator[FlashSim]:
            yield FlashSim(SLOT, content=self._content)

        def book(_: str, ranges: Sequence[tuple[int, int]]) -> None:
            self.slot_bytes += sum(length for _, length in ranges)

        def reset() -> None:
            raise ResetNow

        def nothing() -> None:
            return

        return Hands(
            variables=self.firmware,
            append=lambda kind, payload, cause: ring.append(kind, payload, cause=cause),
            slot=slot,
            content=content,
            book=book,
            forget_site=nothing,
            reset=reset,
        )
