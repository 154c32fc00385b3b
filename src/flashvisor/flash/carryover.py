"""What a server remembers, put together for a new flash device. Pure.

The device gets an image with slots of its own, and this server's memory: whose it is, its site, its history. So its
records go over in their order, but for what speaks of the old device itself: where its slots stand, how worn it is::

    device = RamDevice(STATE.size)
    ring = carry_over(mine, image_ring, device)
    differences(mine, image_ring)       # words for people: "the image was made for 'beta'; ..."
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from flashvisor.errors import LayoutError, RecordFormatError
from flashvisor.flash.ring import Ring
from flashvisor.model.record import Identity, RecordKind, Slots, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flashvisor.flash.device import FlashDevice
    from flashvisor.flash.ring import Record

_P = TypeVar("_P", Slots, Identity)

CAUSE = "burn"  # what the records are booked to
OF_THE_DEVICE = frozenset({RecordKind.SLOTS, RecordKind.WEAR})


def contents(ring: Ring) -> tuple[tuple[int, bytes], ...]:
    """Returns kind and payload of every kept record, oldest first: two rings with the same remember the same."""
    return _rows(ring.kept)


def is_memory_of(there: Ring, mine: Ring) -> bool:
    """Tells whether a ring remembers what mine does, with or without the record whose writing failed last."""
    return contents(there) in (contents(mine), _rows(mine.kept_at_most))


def _rows(records: Iterable[Record]) -> tuple[tuple[int, bytes], ...]:
    return tuple((record.kind, record.payload) for record in records)


def copy(source: Ring, device: FlashDevice) -> Ring:
    """Writes all of a ring's records to a blank device, in their order."""
    target = Ring.open(device)
    for record in source.kept:
        target.append(record.kind, record.payload, cause=record.cause)
    return target


def carry_over(mine: Ring, image: Ring, device: FlashDevice) -> Ring:
    """Writes the ring of a new flash device: what this server remembers, and the slots of the image.

    Args:
        mine: This server's memory.
        image: The ring of the flash image that the device gets.
        device: Blank; takes the new ring.

    Raises:
        LayoutError: the image does not say what its slots hold.
        RingFullError: the records do not fit.
    """
    said = image.latest(RecordKind.SLOTS)
    if said is None:
        raise LayoutError("the flash image does not say what its slots hold: it was not made by this version")
    slots, before = decode(said.payload, Slots), _read(mine, RecordKind.SLOTS, Slots)
    # Releases that failed on this server would fail again.
    slots = msgspec.structs.replace(slots, failed=before.failed if before else ())
    target = Ring.open(device)
    for record in mine.kept:
        if record.kind not in OF_THE_DEVICE:
            target.append(record.kind, record.payload, cause=CAUSE)
    target.append(RecordKind.SLOTS, encode(slots), cause=CAUSE)
    return target


def differences(mine: Ring, image: Ring) -> tuple[str, ...]:
    """Returns in plain words what an image says otherwise than this server, and does not get its way with."""
    ours, theirs = _read(mine, RecordKind.IDENTITY, Identity), _read(image, RecordKind.IDENTITY, Identity)
    if ours is None or theirs is None:
        return ()
    words = []
    if theirs.node_name != ours.node_name:
        words.append(f"the image was made for '{theirs.node_name}'; this server stays '{ours.node_name}'")
    if theirs.owner_ca_pem != ours.owner_ca_pem:
        words.append("the image was made with another owner's keys; this server keeps its owner")
    return tuple(words)


def _read(ring: Ring, kind: RecordKind, form: type[_P]) -> _P | None:
    record = ring.latest(kind)
    try:
        return decode(record.payload, form) if record else None
    except RecordFormatError:
        return None
