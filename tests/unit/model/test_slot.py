"""The table of slot states, and which slot starts next, over every combination of facts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from flashvisor.flash.layout import SLOTS
from flashvisor.model.slot import TRANSITIONS, Facts, Slot, SlotEvent, SlotState, hand_over, step

PAIR = (Slot.A, Slot.B)
SETS = [frozenset[Slot](), frozenset({Slot.A}), frozenset({Slot.B}), frozenset(PAIR)]
ALL = [Facts(committed, intact, failed) for committed, intact, failed in product([None, *Slot], SETS, SETS)]


def test_slots_are_those_of_the_layout() -> None:
    assert tuple(slot.value for slot in Slot) == SLOTS


@pytest.mark.parametrize(("state", "event"), list(product(SlotState, SlotEvent)))
def test_only_the_table_moves_a_slot(state: SlotState, event: SlotEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert step(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(RuntimeError, match=event.value):
            step(state, event)


def test_a_slot_is_committed_only_after_it_was_verified_and_tried() -> None:
    state = SlotState.IDLE
    for event in (SlotEvent.WRITE, SlotEvent.WRITE, SlotEvent.VERIFIED, SlotEvent.TRY, SlotEvent.HEALTHY):
        state = step(state, event)
    assert state is SlotState.COMMITTED
    assert [start for (start, _), end in TRANSITIONS.items() if end is SlotState.COMMITTED] == [SlotState.TRYING]
    assert [start for (start, _), end in TRANSITIONS.items() if end is SlotState.TRYING] == [SlotState.WRITTEN]
    verified = [(start, event) for (start, event), end in TRANSITIONS.items() if end is SlotState.WRITTEN]
    assert verified == [(SlotState.IDLE, SlotEvent.VERIFIED), (SlotState.WRITING, SlotEvent.VERIFIED)]


def test_what_is_committed_or_on_trial_is_never_written() -> None:
    for state in (SlotState.COMMITTED, SlotState.TRYING):
        with pytest.raises(RuntimeError):
            step(state, SlotEvent.WRITE)


@pytest.mark.parametrize("facts", ALL)
def test_nothing_rotten_or_failed_is_ever_chosen(facts: Facts) -> None:
    slot = hand_over(facts)
    assert slot is None or (slot in facts.intact and slot not in facts.failed)


@pytest.mark.parametrize("facts", ALL)
def test_factory_hands_over_to_each_slot_at_most_once_and_then_stays(facts: Facts) -> None:
    sound = facts.intact - facts.failed if facts.committed in PAIR else frozenset[Slot]()
    started: list[Slot] = []
    while (slot := hand_over(facts)) is not None:
        started.append(slot)
        assert len(started) <= len(PAIR)
        facts = replace(facts, failed=facts.failed | {slot})
    assert frozenset(started) == sound
    assert facts.committed not in sound or started[0] is facts.committed
