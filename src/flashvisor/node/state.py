"""The server's memory: identity, trust, site generations, boots, as records in the flash's state ring.

Owns what the records mean together. Does not own how they lie in flash (flash/ring.py)::

    memory = NodeState(Ring.open(device))
    memory.identity()               # None: nobody has claimed this server
    memory.trust()                  # the root that updates are verified by, and what was verified
    memory.confirmed()              # the newest confirmed generation, which boots use
    new = memory.propose(text, images, who="anna", when=now)
    memory.confirm(new.generation)
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from flashvisor.errors import RecordFormatError
from flashvisor.model import record
from flashvisor.model.record import Boot, Config, Confirm, Identity, ImageEntry, RecordKind, Slots
from flashvisor.model.release import Memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashvisor.flash.ring import Record, Ring

P = TypeVar("P", Identity, Config, Confirm, Slots, Memory)

FACTORY_RESET = "factory reset"  # who, in the generation that ends all sites


class NodeState:
    """What the server remembers over boots. Any thread may call; the ring itself takes one at a time."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._lock = threading.Lock()
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
        confirms = (self._read(item, Confirm) for item in self._ring.records(RecordKind.CONFIRM))
        numbers = {confirm.generation for confirm in confirms if confirm}
        for item in reversed(self._ring.records(RecordKind.CONFIG)):
            config = self._read(item, Config)
            if config and (config.confirmed or config.generation in numbers):
                return config if config.site_toml else None
        return None

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
