"""Where both slots stand, from three witnesses: firmware's variables, the state ring, and the slots' own bytes. Pure.

Owns how the three are read together, and the actions that plans are made of. Does not own the plans (flash/slots.py)::

    view = derive(boot_variables(variables), record, {Slot.B: sha256_of_slot_b})
    view.running, view.committed, view.state(Slot.B)
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from flashvisor.flash.layout import BOOT_FILE, PARTITIONS, SECTOR, SLOTS
from flashvisor.model.bootentry import BootVariables, LoadOption, Partition
from flashvisor.model.record import SlotNote, Slots
from flashvisor.model.slot import Facts, Slot, SlotState, hand_over

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "\\" + BOOT_FILE.replace("/", "\\")
PAIR = (Slot.A, Slot.B)
DEATHS = 3  # starts in a row that did not become healthy, before a committed slot is given up; two may be cuts of power
GUIDS = {uuid.UUID(PARTITIONS[slot].guid): slot for slot in Slot}
_HEALTHY_ONCE = (SlotState.IDLE, SlotState.COMMITTED)
_TRIED = (SlotState.TRYING, SlotState.WRITTEN)


@dataclass(frozen=True)
class SetEntry:
    """An action: firmware learns how to start a slot."""

    number: int
    option: LoadOption


@dataclass(frozen=True)
class SetOrder:
    """An action: BootOrder."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class SetNext:
    """An action: BootNext; None takes it away."""

    number: int | None


@dataclass(frozen=True)
class WriteSlot:
    """An action: the slot gets its new content, and is read back."""

    slot: Slot


@dataclass(frozen=True)
class Note:
    """An action: where the slots stand goes into the state ring, booked to `cause`."""

    slots: Slots
    cause: str


@dataclass(frozen=True)
class ForgetSite:
    """An action: the server forgets its site."""


@dataclass(frozen=True)
class Reset:
    """An action: a cold start through firmware."""


Action: TypeAlias = SetEntry | SetOrder | SetNext | WriteSlot | Note | ForgetSite | Reset


@dataclass(frozen=True)
class View:
    """What is true of the slots.

    Attributes:
        running: The slot that this server runs from.
        record: The newest record of the state ring.
        boot: Firmware's variables.
        intact: Slots a and b whose bytes have the digest in the record.
        digests: SHA-256 of the slots that were read.
        named: Every boot entry that leads to one of our slots, by number.
    """

    running: Slot
    record: Slots
    boot: BootVariables
    intact: frozenset[Slot]
    digests: Mapping[Slot, str] = field(default_factory=dict)
    named: Mapping[int, Slot] = field(default_factory=dict)

    @property
    def committed(self) -> Slot | None:
        """The slot that is to start first."""
        return self.record.committed

    @property
    def recovery(self) -> bool:
        """Whether factory runs because no slot can: slots are to be rewritten. Known once they were read."""
        return self.running is Slot.FACTORY and self.committed is not Slot.FACTORY and hand_over(self.facts) is None

    @property
    def first(self) -> Slot | None:
        """The slot that BootOrder leads to before the others."""
        return next((self.named[number] for number in self.boot.order if number in self.named), None)

    @property
    def next(self) -> Slot | None:
        """The slot that BootNext leads to."""
        return self.named.get(self.boot.next) if self.boot.next is not None else None

    @property
    def facts(self) -> Facts:
        """What the choice of a slot to start goes by."""
        bad = (slot for slot in PAIR if self.state(slot) is SlotState.FAILED or self.note(slot).deaths >= DEATHS)
        good = (slot for slot in self.intact if self.state(slot) in _HEALTHY_ONCE)
        return Facts(self.committed, frozenset(good), frozenset(bad))

    @property
    def twin(self) -> bool:
        """Whether factory, which runs, holds the same image as the committed slot, to which it would hand over."""
        if self.running is not Slot.FACTORY or self.committed not in PAIR or not self.record.factory:
            return False
        return hand_over(self.facts) is self.committed and self.note(self.committed).image == self.record.factory

    @property
    def pending(self) -> bool:
        """Whether a trial was prepared, and only the reset is missing."""
        return self.next in PAIR and self.next is not self.running and self.note(self.next).state in _TRIED

    @property
    def rotten(self) -> bool:
        """Whether the committed slot, which does not run, no longer holds the bytes that were healthy."""
        return self.committed in self.digests and self.committed not in (*self.intact, self.running)

    def note(self, slot: Slot) -> SlotNote:
        """Returns what the state ring says of slot a or b."""
        return self.record.a if slot is Slot.A else self.record.b

    def state(self, slot: Slot) -> SlotState:
        """Returns where slot a or b stands: the record, and what firmware did since.

        A slot on trial that neither runs nor is next has had its trial. One that was written and runs is on trial.
        """
        state = self.note(slot).state
        if state is SlotState.TRYING and slot is not self.running and slot is not self.next:
            return SlotState.FAILED
        if state is SlotState.WRITTEN and slot is self.running:
            return SlotState.TRYING
        return state

    @property
    def rotten_beneath(self) -> bool:
        """Whether the running slot no longer holds the bytes that were verified."""
        known = self.running in PAIR and self.note(self.running).sha256
        return bool(known) and self.running in self.digests and self.running not in self.intact

    def to_read(self, *, commit: bool = False) -> tuple[Slot, ...]:
        """Returns the slots whose bytes must be read, 32 MiB each, before a plan is made: none on most starts.

        Args:
            commit: Before `plan_commit`, not `plan_start`.
        """
        if self.running is Slot.FACTORY:
            return PAIR
        if self.state(self.running) is SlotState.TRYING:
            return PAIR if commit else ()
        return () if self.running is self.committed else PAIR


def option(slot: Slot) -> LoadOption:
    """Returns the boot entry of a slot."""
    region = PARTITIONS[slot]
    partition = Partition(SLOTS.index(slot) + 1, region.start // SECTOR, region.size // SECTOR, uuid.UUID(region.guid))
    return LoadOption(f"flashvisor {slot}", partition, PATH)


def derive(boot: BootVariables, record: Slots | None, digests: Mapping[Slot, str]) -> View:
    """Returns what is true of the slots.

    Args:
        boot: Firmware's variables.
        record: The newest record; None on a ring that has none.
        digests: SHA-256 of slots a and b as they are in flash; a slot that is left out counts as not intact.
    """
    record = record or Slots(when=0.0)
    entries = boot.entries or {}
    named = {
        number: GUIDS[entry.partition.guid]
        for number, entry in sorted(entries.items())
        if entry.partition and entry.partition.guid in GUIDS
    }
    started = named.get(boot.current, Slot.FACTORY) if boot.current is not None else Slot.FACTORY
    # The stub's word goes first: firmware may have come by an entry of its own making.
    running = GUIDS.get(boot.device, started) if boot.device else started
    known = {Slot.A: record.a.sha256, Slot.B: record.b.sha256}
    intact = frozenset(slot for slot in PAIR if known[slot] and digests.get(slot) == known[slot])
    return View(running, record, boot, intact, dict(digests), named)
