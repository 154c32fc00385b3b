"""Plans for slots: what they refuse, their order, and what a server does that is not cut."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace

import pytest
from msgspec import structs

from flashvisor.errors import NoRollbackError, ReleaseFailedBeforeError, SlotBusyError
from flashvisor.flash.carryout import carry_out
from flashvisor.flash.layout import STATE
from flashvisor.flash.ringformat import HEADER, PAGE, Geometry, cut
from flashvisor.flash.slots import (
    DEAD,
    IGNORED,
    SILENT,
    plan_commit,
    plan_factory_reset,
    plan_give_up,
    plan_rollback,
    plan_start,
    plan_update,
)
from flashvisor.flash.slotview import DEATHS, ForgetSite, Note, Reset, SetNext, View, WriteSlot
from flashvisor.flash.update import BLOCK
from flashvisor.model.bootentry import LoadOption, Partition, encode
from flashvisor.model.record import RecordKind, Slots, Trial
from flashvisor.model.slot import Slot, SlotState
from sim.cuts import update_many, updated
from sim.slotsim import BAD, NEW, OLD, STARTS, THIRD, ResetNow, SlotSim, burnt, release

UPDATES = 60  # tests/soak does a thousand


@pytest.fixture(params=[False, True], ids=["", "secure"])
def server(request: pytest.FixtureRequest) -> SlotSim:
    """A server that was started for the first time, without Secure Boot and with it, and then from slot a."""
    server = SlotSim(burnt(), secure=request.param)
    server.settle()
    server.settle()
    return server


def order(server: SlotSim) -> list[Slot]:
    view = server.view()
    return [view.named[number] for number in view.boot.order]


def start_by_factory(server: SlotSim) -> None:
    """Firmware starts factory, which hands over."""
    server.running = server.firmware.choose(lambda _: True)
    assert server.running is Slot.FACTORY
    with pytest.raises(ResetNow):
        server.do(plan_start(server.view(), 5.0))


def states(server: SlotSim) -> dict[Slot, SlotState]:
    view = server.view()
    return {slot: view.state(slot) for slot in (Slot.A, Slot.B)}


def flip(server: SlotSim, slot: Slot) -> None:
    server.flash.flip((STARTS[slot] + 5 * BLOCK) * 8 + 3)


def test_the_first_start_is_factorys_which_holds_what_a_holds_and_the_second_is_as() -> None:
    server = SlotSim(burnt())
    assert server.settle() == "old"
    assert server.booted == [Slot.FACTORY]
    assert not server.view().recovery
    server.settle()
    assert server.booted == [Slot.FACTORY, Slot.A]


def test_without_secure_boot_what_dies_at_any_point_lands_in_factory() -> None:
    server = SlotSim(burnt())
    server.settle()
    for slot in (Slot.A, Slot.A):
        assert order(server)[0] is Slot.FACTORY
        assert server.view().next is slot
        server.settle()
        assert server.running is slot


def test_with_secure_boot_the_committed_slot_leads_and_its_start_arms_factory() -> None:
    server = SlotSim(burnt(), secure=True)
    server.settle()
    assert order(server) == [Slot.A, Slot.FACTORY]
    assert server.view().next is None
    server.running = server.firmware.choose(lambda _: True)
    server.do(plan_start(server.view(), 5.0))
    assert (server.running, server.view().next) == (Slot.A, Slot.FACTORY)
    server.do(plan_commit(server.view(), 6.0))
    assert server.view().next is None


def test_another_image_in_factory_hands_over_by_a_restart(server: SlotSim) -> None:
    server.update(NEW)
    server.settle()
    server.firmware.variables.clear()
    assert server.settle() == "new"
    assert server.booted[-2:] == [Slot.FACTORY, Slot.B]


def test_a_healthy_start_writes_nothing_to_flash(server: SlotSim) -> None:
    before = len(server.flash.writes)
    server.settle()
    assert server.running is Slot.A
    assert len(server.flash.writes) == before


def test_update_then_commit_then_rollback(server: SlotSim) -> None:
    server.update(NEW)
    assert states(server) == {Slot.A: SlotState.COMMITTED, Slot.B: SlotState.TRYING}
    assert server.settle() == "new"
    assert states(server) == {Slot.A: SlotState.IDLE, Slot.B: SlotState.COMMITTED}
    assert set(order(server)) == {Slot.B, Slot.FACTORY}
    server.rollback()
    assert server.settle() == "old"
    assert states(server) == {Slot.A: SlotState.COMMITTED, Slot.B: SlotState.IDLE}


def test_the_order_of_an_update(server: SlotSim) -> None:
    server.update(NEW)
    server.settle()
    actions = plan_update(server.view(), release(THIRD), 9.0)
    kinds = [type(action) for action in actions]
    assert kinds == [Note, WriteSlot, Note, SetNext, Note, Reset]
    notes = [action.slots.a.state for action in actions if isinstance(action, Note)]
    assert notes == [SlotState.WRITING, SlotState.WRITTEN, SlotState.TRYING]
    assert set(order(server)) == {Slot.B, Slot.FACTORY}  # firmware never knew a way to what is being written


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("early", [False, True])
def test_a_failed_release_is_remembered_with_its_reason_and_tried_again_only_by_force(
    early: bool, secure: bool
) -> None:
    server = SlotSim(updated(secure=secure), early=early, secure=secure)
    server.settle()
    server.update(BAD)
    assert server.settle() == "new"
    assert server.booted[-1] is Slot.B
    assert Slot.A in server.booted
    view = server.view()
    assert view.state(Slot.A) is SlotState.FAILED
    assert [row.reason for row in view.record.failed] == [SILENT]
    with pytest.raises(ReleaseFailedBeforeError, match="before it was healthy"):
        plan_update(view, release(BAD), 9.0)
    assert plan_update(view, release(BAD), 9.0, force=True)
    assert plan_update(view, release(THIRD), 9.0)


def test_a_trial_that_went_wrong_is_given_up_with_its_reason(server: SlotSim) -> None:
    server.update(NEW)
    server.running = server.firmware.choose(lambda _: True)
    assert server.running is Slot.B
    server.do(plan_start(server.view(), 5.0))
    assert server.view().record.trial == Trial()
    with pytest.raises(ResetNow):
        server.do(plan_give_up(server.view(), "guest web did not answer", 6.0))
    assert server.settle() == "old"
    view = server.view()
    assert [(row.version, row.reason) for row in view.record.failed] == [("1.0", "guest web did not answer")]
    assert view.record.trial is None


def test_a_committed_image_that_dies_again_and_again_is_given_up(server: SlotSim) -> None:
    server.update(NEW)
    server.settle()
    for handed_over in range(DEATHS + 1):
        started = server.firmware.choose(lambda _: True)
        assert started is Slot.B
        server.running = started
        server.do(plan_start(server.view(), 5.0))  # and then it dies
        if handed_over < DEATHS:
            start_by_factory(server)
    assert server.settle() == "old"
    assert states(server) == {Slot.A: SlotState.COMMITTED, Slot.B: SlotState.FAILED}
    assert [row.reason for row in server.view().record.failed] == [DEAD]
    assert server.again().settle() == "old"


def test_a_healthy_start_forgets_deaths(server: SlotSim) -> None:
    server.update(NEW)
    server.settle()
    server.running = server.firmware.choose(lambda _: True)
    server.do(plan_start(server.view(), 5.0))
    start_by_factory(server)
    assert server.view().note(Slot.B).deaths == 1
    assert server.settle() == "new"
    assert server.view().note(Slot.B).deaths == 0


def test_factory_stays_when_no_slot_is_sound_and_takes_an_update(server: SlotSim) -> None:
    flip(server, Slot.A)
    server.firmware.variables.clear()
    assert server.settle() == "old"
    assert server.view().recovery
    server.update(NEW)
    assert server.settle() == "new"
    assert server.booted[-2:] == [Slot.FACTORY, Slot.B]
    assert not server.view().recovery


def test_factory_hands_over_so_often_and_then_stays(server: SlotSim) -> None:
    server.update(NEW)
    server.settle()
    flip(server, Slot.A)
    server.firmware.variables.clear()
    started = []
    for _ in range(2 * DEATHS + 2):
        server.running = server.firmware.choose(lambda _: True)
        started.append(server.running)
        if server.running is Slot.FACTORY:
            actions = plan_start(server.view(), 5.0)
            carry_out((action for action in actions if not isinstance(action, Reset)), server._hands())
    assert started == [Slot.FACTORY, Slot.B] * DEATHS + [Slot.FACTORY, Slot.FACTORY]


def test_rollback_needs_a_known_good_image(server: SlotSim) -> None:
    with pytest.raises(NoRollbackError, match="slot b"):
        plan_rollback(server.view(), 1.0)
    with pytest.raises(NoRollbackError, match="factory"):
        plan_rollback(replace(server.view(), running=Slot.FACTORY), 1.0)
    server.update(NEW)
    server.settle()
    flip(server, Slot.A)
    with pytest.raises(NoRollbackError, match="changed"):
        plan_rollback(server.view(), 1.0)


def test_neither_the_committed_slot_nor_one_on_trial_is_written(server: SlotSim) -> None:
    with pytest.raises(SlotBusyError, match="slot a is committed"):
        plan_update(replace(server.view(), running=Slot.B), release(NEW), 1.0)


def test_factory_reset_keeps_the_slots_and_forgets_the_site_if_asked(server: SlotSim) -> None:
    server.update(NEW)
    server.settle()
    assert ForgetSite() in plan_factory_reset(server.view(), 1.0, keep_site=False)
    assert ForgetSite() not in plan_factory_reset(server.view(), 1.0, keep_site=True)
    server.factory_reset()
    assert server.settle() == "old"
    assert server.running is Slot.FACTORY
    assert not server.view().recovery
    assert server.again().settle() == "old"
    server.update(THIRD)
    assert server.settle() == "third"


def test_the_machines_own_boot_entries_stay(server: SlotSim) -> None:
    foreign = encode(LoadOption("disk", Partition(1, 2048, 2048, uuid.UUID(int=7)), "\\x.efi"))
    server.firmware.variables["Boot0009"] = foreign
    server.firmware.variables["BootOrder"] += b"\x09\x00"
    server.update(NEW)
    server.settle()
    assert server.view().boot.order[-1] == 9
    assert server.firmware.variables["Boot0009"] == foreign


def test_a_ring_that_lost_all_learns_from_what_runs_and_is_healthy(server: SlotSim) -> None:
    view = server.view()
    lost = View(view.running, Slots(when=0.0), view.boot, frozenset(), view.digests, view.named)
    note = next(action for action in plan_commit(lost, 9.0) if isinstance(action, Note))
    assert note.slots.committed is Slot.A
    assert note.slots.a.sha256 == hashlib.sha256(OLD).hexdigest()


def test_a_prepared_trial_is_finished_by_a_restarted_agent(server: SlotSim) -> None:
    server.update(NEW)
    assert plan_start(server.view(), 4.0, fresh=False) == [Reset()]


def test_a_firmware_that_ignores_boot_next_costs_the_trial_and_not_the_server(server: SlotSim) -> None:
    server.update(NEW)  # and firmware starts a again, with BootNext as it was
    assert server.view().pending
    server.do(plan_start(server.view(), 4.0))
    view = server.view()
    assert (view.pending, view.committed, states(server)[Slot.B]) == (False, Slot.A, SlotState.FAILED)
    assert [row.reason for row in view.record.failed] == [IGNORED]
    server.do(plan_commit(server.view(), 5.0))
    assert server.settle() == "old"


def test_that_holds_also_when_power_was_cut_between_boot_next_and_its_record(server: SlotSim) -> None:
    server.update(NEW)
    seen = server.view()
    b = structs.replace(seen.record.b, state=SlotState.WRITTEN)
    view = View(seen.running, structs.replace(seen.record, b=b), seen.boot, seen.intact, seen.digests, seen.named)
    assert view.pending
    first, *rest = plan_start(view, 4.0)
    assert first == SetNext(None)  # before the record: no cut leaves BootNext at a slot that failed
    assert next(action for action in rest if isinstance(action, Note)).slots.b.state is SlotState.FAILED
    assert Reset() not in rest


def test_factory_is_unchanged_after_many_updates_and_little_is_written_beyond_what_differs(server: SlotSim) -> None:
    update_many(server, UPDATES)


def test_an_update_costs_four_pages_of_the_ring_beside_its_slot(server: SlotSim) -> None:
    server.update(NEW)
    server.settle()
    notes = [row for row in server.ring().records(RecordKind.SLOTS) if row.cause in ("update", "commit")]
    assert [row.cause for row in notes[-4:]] == ["update", "update", "update", "commit"]
    assert len(cut(Geometry(STATE.size), 1, RecordKind.SLOTS, notes[-1].payload, "commit")) == 1
    assert all(HEADER + len(row.payload) <= PAGE for row in notes)
