"""The state ring: what a server must remember, in raw flash, surviving a cut of power at any moment.

Owns reading and writing through a FlashDevice. What to keep and where to write is planned in ringplan.py, how a record
lies in flash stands in ringformat.py. An idle server writes nothing; every byte is booked to a cause::

    with BlockFile(Path("/dev/disk/by-partlabel/fv-state"), write=True) as device:
        ring = Ring.open(device)
        ring.append(RecordKind.CONFIG, payload, cause="apply")
        ring.latest(RecordKind.CONFIG)
        ring.lost            # plain words; empty when all is well

`book` hears of each batch of writes that ends in a flush, for the ledger of wear.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from flashvisor.errors import RingCorruptError
from flashvisor.flash.ringformat import HEADER, Geometry
from flashvisor.flash.ringplan import RESERVE, Record, State, plan_append, recover, window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flashvisor.flash.device import FlashDevice

__all__ = ["Book", "Record", "Ring"]

WIPE_CHUNK = 1 << 20  # bytes
WIPE = "wipe"  # the cause that a wipe is booked to


Book: TypeAlias = "Callable[[str, Sequence[tuple[int, int]]], None]"


def unheard(_cause: str, _ranges: Sequence[tuple[int, int]]) -> None:
    """Takes the place of the ledger where nobody keeps one."""


def _in_order(state: State) -> tuple[Record, ...]:
    return tuple(sorted(state.records, key=lambda record: record.sequence))


def _read(device: FlashDevice, geometry: Geometry) -> tuple[State, tuple[str, ...]]:
    starts = [index * geometry.segment for index in range(geometry.segments)]
    heads = [device.read(start, HEADER) for start in starts]
    return recover(geometry, {index: device.read(starts[index], geometry.segment) for index in window(geometry, heads)})


class Ring:
    """A state ring that was read. One writer at a time: nothing guards against a second one."""

    def __init__(
        self,
        device: FlashDevice,
        state: State,
        lost: tuple[str, ...],
        book: Book = unheard,
    ) -> None:
        self._device, self._book = device, book
        self._state = state
        self._in_doubt = False
        self._tried = state  # what is true if the append that failed last reached flash all the same
        self._causes: Counter[str] = Counter()
        self.lost = lost

    @classmethod
    def open(
        cls,
        device: FlashDevice,
        geometry: Geometry | None = None,
        *,
        book: Book = unheard,
    ) -> Ring:
        """Reads a ring; a blank device is an empty ring. Writes nothing.

        Args:
            device: Holds the ring and nothing else.
            geometry: Measures other than the real ones (for tests).
            book: Hears what was written, also when that failed: cause, and offset and length of each write (bytes).

        Raises:
            LayoutError: the device is too small.
        """
        geometry = geometry or Geometry(device.size)
        geometry.check(RESERVE)
        return cls(device, *_read(device, geometry), book)

    def records(self, kind: int) -> list[Record]:
        """Returns the kept records of a kind, oldest first."""
        return [record for record in self._state.records if record.kind == kind]

    def latest(self, kind: int) -> Record | None:
        """Returns the newest record of a kind."""
        return next(reversed(self.records(kind)), None)

    @property
    def kept(self) -> tuple[Record, ...]:
        """All kept records, oldest first."""
        return _in_order(self._state)

    @property
    def kept_at_most(self) -> tuple[Record, ...]:
        """The same as if the append that failed last, if any, had reached flash all the same: only a flush tells."""
        return _in_order(self._tried if self._in_doubt else self._state)

    def append(self, kind: int, payload: bytes, *, cause: str) -> Record:
        """Writes a record and returns once it would survive a cut of power.

        Args:
            kind: RecordKind.
            payload: At most 256 KiB (ringformat.PAYLOAD_LIMIT).
            cause: Why flash is written, 1 to 40 bytes of UTF-8.

        Raises:
            RingFullError: it does not fit. Nothing was written.
        """
        if self._in_doubt:
            self._state, self.lost = _read(self._device, self._state.geometry)
        plan = plan_append(self._state, kind, payload, cause)
        self._tried = plan.state
        self._in_doubt = True  # until all is done: an error in between leaves flash as a cut of power would
        for name, writes in plan.batches(cause):
            self._write(name, [(write.offset, write.data) for write in writes])
        self._in_doubt = False
        self._state = plan.state
        self._causes.update(plan.booked)
        return plan.record

    def continue_as(self, other: Ring) -> None:
        """Goes on where another ring of the same measures ended: its bytes are on this ring's device now."""
        self._state, self.lost, self._in_doubt = other._state, other.lost, False
        self._causes.update(other.causes)

    def wipe(self) -> None:
        """Overwrites the whole device with zeros: no record, kept or old, can be read from it any more."""
        self._in_doubt, self._tried = True, State(self._state.geometry)
        starts = range(0, self._device.size, WIPE_CHUNK)
        self._write(WIPE, [(start, bytes(min(WIPE_CHUNK, self._device.size - start))) for start in starts])
        self._state, self.lost, self._in_doubt = State(self._state.geometry), (), False

    def require_intact(self) -> None:
        """Raises RingCorruptError if anything was lost."""
        if self.lost:
            raise RingCorruptError(
                f"{len(self.lost)} records of the state ring are lost; the newest intact ones are used",
                evidence="\n".join(self.lost),
            )

    def since(self, sequence: int) -> list[tuple[Record, int]]:
        """Returns the kept records from this number on, oldest first, each with the bytes that it takes in flash."""
        state, sizes = self._state, Counter[int]()
        for part in state.parts:
            sizes[part.sequence] += state.geometry.pages_of(len(part.body)) * state.geometry.page
        return [(record, sizes[record.sequence]) for record in _in_order(state) if record.sequence >= sequence]

    @property
    def bytes_written(self) -> int:
        """Bytes ever written to this ring, over all boots; every record carries the sum."""
        return self._state.written

    @property
    def causes(self) -> Mapping[str, int]:
        """Bytes written since the ring was opened, by cause."""
        return dict(self._causes)

    def _write(self, cause: str, writes: Sequence[tuple[int, bytes]]) -> None:
        try:
            for offset, data in writes:
                self._device.write(offset, data)
            self._device.flush()
        finally:
            self._book(cause, [(offset, len(data)) for offset, data in writes])
