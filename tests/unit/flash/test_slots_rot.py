"""Flipped bits in slots and in the state ring, with Secure Boot on: firmware refuses what is rotten, and goes on."""

from __future__ import annotations

from random import Random

import pytest

from flashvisor.flash.slots import plan_commit, plan_start
from flashvisor.model.slot import Slot, SlotState
from sim.cuts import updated
from sim.slotsim import NEW, OLD, RING, SLOT, STARTS, STATE, THIRD, SlotSim

FLIPS = 40  # for each place


def rot(server: SlotSim, start: int, length: int, seed: int) -> None:
    server.flash.flip(8 * start + Random(seed).randrange(8 * length))  # noqa: S311 it must be repeatable


@pytest.fixture
def server() -> SlotSim:
    """New is committed in b, old stands in a."""
    return SlotSim(updated(secure=True), secure=True)


@pytest.mark.parametrize("seed", range(FLIPS))
def test_rot_in_the_committed_slot_starts_the_other_one_which_is_then_committed(server: SlotSim, seed: int) -> None:
    rot(server, STARTS[Slot.B], SLOT, seed)
    assert server.settle() == "old"
    view = server.view()
    assert (view.running, view.committed) == (Slot.A, Slot.A)
    assert view.state(Slot.B) is SlotState.FAILED
    assert view.record.failed[-1].reason == "its bytes in flash have changed"
    server.update(THIRD)
    assert server.settle() == "third"


@pytest.mark.parametrize("seed", range(FLIPS))
def test_rot_in_the_other_slot_changes_nothing_and_is_never_armed(server: SlotSim, seed: int) -> None:
    rot(server, STARTS[Slot.A], SLOT, seed)
    assert server.settle() == "new"
    view = server.view()
    assert Slot.A not in [view.named[number] for number in view.boot.order]
    server.update(THIRD)
    assert server.settle() == "third"


@pytest.mark.parametrize("seed", range(FLIPS))
def test_rot_in_both_slots_leads_to_factory_which_takes_an_update(server: SlotSim, seed: int) -> None:
    rot(server, STARTS[Slot.A], SLOT, seed)
    rot(server, STARTS[Slot.B], SLOT, seed + 1)
    assert server.settle() == "old"
    assert server.running is Slot.FACTORY
    assert server.view().recovery
    server.update(NEW)
    assert server.settle() == "new"
    assert server.running is not Slot.FACTORY
    assert server.slot(Slot.FACTORY) == OLD


@pytest.mark.parametrize("seed", range(4 * FLIPS))
def test_a_flipped_bit_in_the_state_ring_never_costs_the_way_to_an_image(server: SlotSim, seed: int) -> None:
    rot(server, STATE, RING.size, seed)
    assert server.settle() == "new"
    server.update(THIRD)
    assert server.settle() == "third"


@pytest.mark.parametrize("secure", [False, True])
def test_rot_beneath_a_running_image_is_led_around_before_the_next_start(secure: bool) -> None:
    server = SlotSim(updated(secure=secure), secure=secure)
    assert server.settle() == "new"
    rot(server, STARTS[Slot.B], SLOT, 3)
    server.do(plan_commit(server.view(), 9.0))
    assert server.settle() == "old"
    assert (server.running, server.view().committed) == (Slot.A, Slot.A)
    assert server.booted[-1] is Slot.A


def test_what_rotted_during_its_trial_is_not_committed() -> None:
    server = SlotSim(updated())
    server.settle()
    server.update(THIRD)
    server.running = server.firmware.choose(lambda _: True)
    server.do(plan_start(server.view(), 5.0))
    rot(server, STARTS[Slot.A], SLOT, 3)
    server.do(plan_commit(server.view(), 6.0))
    assert server.settle() == "new"
    assert server.view().state(Slot.A) is SlotState.FAILED
