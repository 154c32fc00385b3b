"""Carries out the plans of flash/slots.py, action by action. Power may go at any moment.

Owns nothing but the translation. The order of actions is the plan's; hands are what reaches firmware and flash::

    carry_out(plan_update(view, release, now), hands)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashvisor.flash.slotview import Action, ForgetSite, Note, SetEntry, SetNext, SetOrder, WriteSlot
from flashvisor.flash.update import write_slot
from flashvisor.host.efivars import NON_VOLATILE
from flashvisor.model.bootentry import GLOBAL, encode, encode_order, entry_name
from flashvisor.model.record import RecordKind
from flashvisor.model.record import encode as encode_record
from flashvisor.model.slot import Slot

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from flashvisor.flash.device import FlashDevice
    from flashvisor.flash.update import SlotDevice


class Variables(Protocol):
    """What is needed of UEFI variables: host.efivars.EfiVars, or a simulated firmware."""

    def write(self, name: str, guid: uuid.UUID, attributes: int, data: bytes) -> None:
        """Sets a variable, whole or not at all."""

    def delete(self, name: str, guid: uuid.UUID) -> None:
        """Takes a variable away; none is fine."""


@dataclass(frozen=True)
class Hands:
    """What reaches firmware and flash.

    Attributes:
        variables: UEFI's.
        append: Writes a record: kind, payload, cause.
        slot: Opens a slot for writing.
        content: Opens what is to be written, as large as the slot.
        book: Hears what was written to a slot, also when that failed: cause, and offset and length of each write.
        forget_site: Makes the server forget its site.
        reset: Starts the server through firmware; may return before that happens.
    """

    variables: Variables
    append: Callable[[int, bytes, str], object]
    slot: Callable[[Slot], AbstractContextManager[SlotDevice]]
    content: Callable[[Slot], AbstractContextManager[FlashDevice]]
    book: Callable[[str, Sequence[tuple[int, int]]], None]
    forget_site: Callable[[], None]
    reset: Callable[[], None]


def carry_out(actions: Iterable[Action], hands: Hands) -> None:
    """Does what a plan says, in its order; an error stops it, and leaves things as a cut of power would.

    Raises:
        FlashError: flash did not take it.
        FirmwareVariableError: firmware did not take it.
    """
    for action in actions:
        if isinstance(action, SetEntry):
            hands.variables.write(entry_name(action.number), GLOBAL, NON_VOLATILE, encode(action.option))
        elif isinstance(action, SetOrder):
            _set(hands.variables, "BootOrder", action.numbers)
        elif isinstance(action, SetNext):
            _set(hands.variables, "BootNext", () if action.number is None else (action.number,))
        elif isinstance(action, Note):
            hands.append(RecordKind.SLOTS, encode_record(action.slots), action.cause)
        elif isinstance(action, WriteSlot):
            _write(action.slot, hands)
        elif isinstance(action, ForgetSite):
            hands.forget_site()
        else:
            hands.reset()


def _set(variables: Variables, name: str, numbers: tuple[int, ...]) -> None:
    if numbers:
        variables.write(name, GLOBAL, NON_VOLATILE, encode_order(numbers))
    else:
        variables.delete(name, GLOBAL)


def _write(slot: Slot, hands: Hands) -> None:
    if slot is Slot.FACTORY:
        raise RuntimeError("factory is never written after burn")
    with hands.slot(slot) as device, hands.content(slot) as content:
        meter = _Meter(device)
        try:
            write_slot(meter, content)
        finally:
            if meter.ranges:
                hands.book("update", meter.ranges)


class _Meter:
    """A SlotDevice that remembers what was written through it."""

    def __init__(self, device: SlotDevice) -> None:
        self._device = device
        self.size = device.size
        self.ranges: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        return self._device.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self.ranges.append((offset, len(data)))
        self._device.write(offset, data)

    def flush(self) -> None:
        self._device.flush()

    def forget_cache(self) -> None:
        self._device.forget_cache()
