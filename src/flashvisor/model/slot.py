"""The slots of flash: the states of a slot, and which slot is to start next. Pure, no I/O.

Owns the table of states and the rules for BootNext. Does not own how facts are read or how a slot is written::

    step(SlotState.TRYING, SlotEvent.HEALTHY) is SlotState.COMMITTED
    hand_over(Facts(committed=Slot.A, intact=frozenset({Slot.A, Slot.B}))) is Slot.A
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

IMAGE_LIMIT = 32_000_000  # bytes; flashvisor.efi has fewer


class Slot(StrEnum):
    """A slot, by its name in flash/layout.py."""

    FACTORY = "factory"
    A = "a"
    B = "b"


class SlotState(Enum):
    """Where a slot stands. Factory has no state: it is never written after burn."""

    IDLE = "idle"
    WRITING = "writing"
    WRITTEN = "written"
    TRYING = "trying"
    COMMITTED = "committed"
    FAILED = "failed"


class SlotEvent(Enum):
    """What happens to a slot."""

    WRITE = "write"
    VERIFIED = "verified"
    TRY = "try"
    HEALTHY = "healthy"
    FAIL = "fail"
    RETIRE = "retire"


# A write that was cut goes on by WRITE again. RETIRE: the other slot was committed, this one stays, known good.
# A committed slot is never written: it must be retired first. VERIFIED when idle: what it holds still has the digest
# that it had when it was healthy, so it may be tried again (rollback).
TRANSITIONS: dict[tuple[SlotState, SlotEvent], SlotState] = {
    (SlotState.IDLE, SlotEvent.WRITE): SlotState.WRITING,
    (SlotState.IDLE, SlotEvent.VERIFIED): SlotState.WRITTEN,
    (SlotState.WRITING, SlotEvent.WRITE): SlotState.WRITING,
    (SlotState.WRITING, SlotEvent.VERIFIED): SlotState.WRITTEN,
    (SlotState.WRITTEN, SlotEvent.WRITE): SlotState.WRITING,
    (SlotState.WRITTEN, SlotEvent.TRY): SlotState.TRYING,
    (SlotState.TRYING, SlotEvent.HEALTHY): SlotState.COMMITTED,
    (SlotState.TRYING, SlotEvent.FAIL): SlotState.FAILED,
    (SlotState.COMMITTED, SlotEvent.RETIRE): SlotState.IDLE,
    (SlotState.COMMITTED, SlotEvent.FAIL): SlotState.FAILED,
    (SlotState.FAILED, SlotEvent.WRITE): SlotState.WRITING,
}


@dataclass(frozen=True)
class Facts:
    """What is known of the slots before one is chosen.

    Attributes:
        committed: The slot that the state ring names as committed; None on a ring that says nothing.
        intact: Slots a and b whose bytes have the digest that the state ring holds for them as known good.
        failed: Slots that failed, or that were started too often without becoming healthy since. The caller records
            a hand-over before it resets: that is what keeps factory from looping.
    """

    committed: Slot | None
    intact: frozenset[Slot]
    failed: frozenset[Slot] = frozenset()


def step(state: SlotState, event: SlotEvent) -> SlotState:
    """Returns the state after an event.

    Raises:
        RuntimeError: the event cannot happen in this state: a wrong order of calls.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise RuntimeError(f"a slot that is {state.value} cannot take {event.value}") from None


def other(slot: Slot) -> Slot:
    """Returns b for a, and a for b.

    Raises:
        RuntimeError: factory has no other slot.
    """
    if slot is Slot.FACTORY:
        raise RuntimeError("factory has no other slot")
    return Slot.B if slot is Slot.A else Slot.A


def hand_over(facts: Facts) -> Slot | None:
    """Returns the slot that factory sets BootNext to before it resets; None: factory stays, in recovery mode.

    The committed slot goes first, then the other one. A slot that is not intact or that failed is never started.
    """
    if facts.committed is None or facts.committed is Slot.FACTORY:
        return None
    order = (facts.committed, other(facts.committed))
    return next((slot for slot in order if _sound(slot, facts)), None)


def _sound(slot: Slot, facts: Facts) -> bool:
    return slot in facts.intact and slot not in facts.failed
