"""The server's memory: identity, trust, site generations, boots, as records in the flash's state ring.

Owns what the records mean together. Does not own how they lie in flash (flash/ring.py)::

    memory = NodeState(Ring.open(device))
    memory.identity()               # None: nobody has claimed this server
    memory.trust()                  # the root that updates are verified by, and what was verified
    memory.confirmed()              # the newest confirmed generation, which boots use
    new = memory.propose(text, images, who="anna", when=now)
    memory.confirm(new.generation)
    memory.history()                # generations, newest first
    memory.wear(today)              # the ledger of wear, as the ring proves it
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flashvisor.errors import RecordFormatError
from flashvisor.flash.wear import catch_up
from flashvisor.model import record
from flashvisor.model.record import Boot, Config, Confirm, Identity, ImageEntry, RecordKind, Slots, Wear
from flashvisor.model.release import Memory
from flashvisor.model.slot import SlotState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date

    from flashvisor.flash.ring import Record, Ring

P = TypeVar("P", Identity, Config, Confirm, Boot, Slots, Wear, Memory)

FACTORY_RESET = "factory reset"  # who, in the generation that ends all sites


@dataclass(frozen=True)
class Generation:
    """A generation of the site, and whether it was confirmed."""

    config: Config
    confirmed: bool


class NodeState:
    """What the server remembers over boots. Any thread may call; the ring itself takes one at a time.

    Args:
        ring: Where it is written. Appending may raise FlashLostError: nothing was written then.
        lock: Held while the ring is written to, if somebody else changes it too.
    """

    def __init__(self, ring: Ring, lock: threading.Lock | None = None) -> None:
        self._ring = ring
        self._lock = lock or threading.Lock()
        self._unread: list[str] = []

    @property
    def lost(self) -> tuple[str, ...]:
        """What was lost or cannot be read, in plain words; empty when all is well."""
        return (*self._ring.lost, *self._unread)

    @property
    def bytes_written(self) -> int:
        """Bytes ever written to the ring, over all boots."""
        return self._ring.bytes_written

    def identity(self) -> Identity | None:
        """Returns who this server is and whose; None before it is claimed."""
        return self._newest(RecordKind.IDENTITY, Identity)

    def trust(self) -> Memory | None:
        """Returns what updates are verified by; None in flash that was burnt without it."""
        return self._newest(RecordKind.TRUST, Memory)

    def remember(self, memory: Memory) -> None:
        """Writes what was verified of an update; nothing if that is known already.

        Raises:
            RingFullError: it does not fit. Nothing was written.
        """
        with self._lock:
            if memory != self.trust():
                self._ring.append(RecordKind.TRUST, record.encode(memory), cause="update")

    def confirmed(self) -> Config | None:
        """Returns the newest confirmed generation of the site. Only such a one is used at boot."""
        numbers = self._confirmed_numbers()
        for item in reversed(self._ring.records(RecordKind.CONFIG)):
            config = self._read(item, Config)
            if config and (config.confirmed or config.generation in numbers):
                return config if config.site_toml else None
        return None

    def history(self) -> list[Generation]:
        """Returns the generations of the site that the ring keeps (ringplan.KEEP_CONFIGS and more), newest first."""
        numbers = self._confirmed_numbers()
        configs = reversed(self._all(RecordKind.CONFIG, Config))
        return [Generation(config, config.confirmed or config.generation in numbers) for config in configs]

    def boots(self) -> list[Boot]:
        """Returns the last boots that the ring keeps (ringplan.KEEP_BOOTS), newest first."""
        return list(reversed(self._all(RecordKind.BOOT, Boot)))

    def wear(self, day: date) -> Wear:
        """Returns the ledger of wear: the newest one written, and what the ring itself wrote since.

        Args:
            day: Today, UTC: what came since is booked to it.
        """
        ledger, start = self._newest_wear()
        told = [(item.cause, size) for item, size in self._ring.since(start)]
        return catch_up(ledger, day, told, self._ring.bytes_written)

    def unbooked_slots(self) -> int:
        """Returns in how many slots writing began after the ledger was written: nobody booked how far it came."""
        _, start = self._newest_wear()
        begun: set[str] = set()
        for item, _ in self._ring.since(start):
            if item.kind == RecordKind.SLOTS and item.cause == "update" and (note := self._read(item, Slots)):
                both = (("a", note.a), ("b", note.b))
                begun |= {name for name, slot in both if slot.state is SlotState.WRITING}
        return len(begun)

    def note_wear(self, make: Callable[[int], Wear]) -> None:
        """Writes the ledger of wear.

        Args:
            make: Returns it, given the bytes that the ring has written until then. Nothing is written in between.
        """
        with self._lock:
            self._ring.append(RecordKind.WEAR, record.encode(make(self._ring.bytes_written)), cause="wear ledger")

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keeps records from being written meanwhile."""
        with self._lock:
            yield

    def propose(self, site_toml: str, images: Mapping[str, ImageEntry], *, who: str, when: float) -> Config:
        """Writes a new generation, not confirmed yet.

        Args:
            site_toml: The whole site file.
            images: The bytes behind its image names.
            who: Who asked for it.
            when: Seconds since 1970 UTC.

        Raises:
            RingFullError: it does not fit. Nothing was written.
        """
        with self._lock:
            numbers = [claim.generation for item in self._claims() if (claim := record.claim(item.payload))]
            config = Config(
                generation=max(numbers, default=0) + 1, when=when, who=who, site_toml=site_toml, images=dict(images)
            )
            self._ring.append(RecordKind.CONFIG, record.encode(config), cause="apply")
        return config

    def confirm(self, generation: int) -> None:
        """Writes that a generation stays."""
        with self._lock:
            self._ring.append(RecordKind.CONFIRM, record.encode(Confirm(generation=generation)), cause="confirm")

    def forget_site(self, when: float) -> None:
        """Writes a generation without a site, which stays: the server starts with none from now on."""
        config = self.propose("", {}, who=FACTORY_RESET, when=when)
        self.confirm(config.generation)

    def slots(self) -> Slots | None:
        """Returns where the slots of flash stand; None if no record says."""
        return self._newest(RecordKind.SLOTS, Slots)

    def append(self, kind: int, payload: bytes, cause: str) -> None:
        """Writes a record that others made.

        Raises:
            RingFullError: it does not fit. Nothing was written.
        """
        with self._lock:
            self._ring.append(kind, payload, cause=cause)

    def note_boot(self, boot: Boot) -> None:
        """Writes that the server booted: one record a boot."""
        with self._lock:
            self._ring.append(RecordKind.BOOT, record.encode(boot), cause="boot")

    def wipe(self) -> None:
        """Forgets everything, identity included: at its next start the server is nobody's."""
        with self._lock:
            self._ring.wipe()

    def _claims(self) -> list[Record]:
        # A number that any record has used is never given again, confirmed or not, readable or not.
        return [*self._ring.records(RecordKind.CONFIG), *self._ring.records(RecordKind.CONFIRM)]

    def _confirmed_numbers(self) -> set[int]:
        return {confirm.generation for confirm in self._all(RecordKind.CONFIRM, Confirm)}

    def _newest_wear(self) -> tuple[Wear, int]:
        """The newest ledger that can be read, and its record's number; an empty one, before all records, if none."""
        for item in reversed(self._ring.records(RecordKind.WEAR)):
            if ledger := self._read(item, Wear):
                return ledger, item.sequence
        return Wear(bytes_written=0), 0

    def _all(self, kind: RecordKind, form: type[P]) -> list[P]:
        return [payload for item in self._ring.records(kind) if (payload := self._read(item, form))]

    def _newest(self, kind: RecordKind, form: type[P]) -> P | None:
        for item in reversed(self._ring.records(kind)):
            payload = self._read(item, form)
            if payload:
                return payload
        return None

    def _read(self, item: Record, form: type[P]) -> P | None:
        try:
            return record.decode(item.payload, form)
        except RecordFormatError as error:
            if error.what not in self._unread:
                self._unread.append(error.what)
            return None
