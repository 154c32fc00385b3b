"""Storages that fill up, fail, vanish and come back, and the guests on them: on a whole server of fakes."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import ForeignDataError, HypervisorError, NfsError
from flashvisor.guests.driver import DiskFault
from flashvisor.guests.supervise import Wish
from flashvisor.host.blkid import Signature
from flashvisor.host.clock import ticks
from flashvisor.host.volume import Reading
from flashvisor.model.guest import GuestState
from flashvisor.model.nfsexport import Export
from flashvisor.model.storagestate import StorageState
from flashvisor.node.fakemachine import FakeMachine, blank_disk
from flashvisor.node.storagekeeper import StorageKeeper, Surroundings
from sim.nodekit import SECOND_GUEST, SITE, Server, request, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


LIMIT = 10.0  # seconds; a test that needs them has failed
GIB = 1 << 30  # bytes
DEVICE = "/dev/fake-data0"
WELL = Reading(size=64 * GIB, free=32 * GIB)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path) as made:
        made.bring_up(SITE + SECOND_GUEST)
        yield made


def place(made: Server) -> str:
    return str(made.settings.storage("main"))


def be(made: Server, **changes: object) -> None:
    """Storage main is like that from now on."""
    made.machine.volumes[place(made)] = replace(WELL, **changes)  # type: ignore[arg-type]


def stall(made: Server, name: str = "hello", *, full: bool = False, again: bool = False) -> None:
    made.driver.fail_disk(name, DiskFault(f"{place(made)}/guests/{name}/disk.qcow2", full=full), again=again)


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits for what the keeper's worker does on its own thread."""
    assert any(condition() for _ in ticks(0.02, LIMIT))


def state(made: Server, name: str = "hello") -> GuestState | None:
    return made.driver.domains().get(name)


def problems(made: Server) -> str:
    return "\n".join(made.problems.all())


def test_all_is_well(made: Server) -> None:
    assert made.storages.look()
    (report,) = made.storages.reports()
    assert (report.name, report.state, report.size, report.free) == ("main", StorageState.OK, 64 * GIB, 32 * GIB)
    assert (report.guests, report.waiting) == (("hello", "second"), ())
    assert problems(made) == ""


def test_a_full_storage_pauses_its_guest_says_so_and_lets_it_go_on_when_there_is_room(made: Server) -> None:
    be(made, free=0)
    stall(made, full=True)
    assert not made.storages.look()
    assert problems(made) == "FV-NODE-062: storage main is full: 0 B of 64 GiB are free; guest hello waits"
    assert made.storages.reports()[0].waiting == ("hello",)
    made.clock[0] += 1000
    made.storages.look()
    assert (state(made), state(made, "second")) == (GuestState.PAUSED, GuestState.RUNNING)
    be(made, free=10 * GIB)
    made.storages.look()
    assert state(made) is GuestState.RUNNING
    assert made.storages.look()
    assert problems(made) == ""
    assert any("storage main is well again" in line for line in made.said)


def test_room_for_a_moment_is_not_enough(made: Server) -> None:
    be(made, free=0)
    stall(made, full=True)
    made.storages.look()
    made.clock[0] += 100
    be(made, free=100 << 20)  # more than what makes it full, less than what lets guests go on
    made.storages.look()
    assert state(made) is GuestState.PAUSED


def test_the_problem_names_who_waits_and_is_told_once(made: Server) -> None:
    be(made, free=0)
    stall(made, full=True)
    made.storages.look()
    be(made, free=1)
    made.storages.look()
    assert sum("FV-NODE-062" in line for line in made.said) == 1
    stall(made, "second", full=True)
    made.storages.look()
    assert "guests hello, second wait" in problems(made)


def test_the_guest_says_what_it_waits_for(made: Server) -> None:
    be(made, free=0)
    stall(made, full=True)
    record = made.keeper.record("hello")
    wait_for(lambda: record.problem.startswith("paused: "))
    made.storages.look()
    assert record.problem == "paused: storage main is full: 0 B of 64 GiB are free"
    be(made)
    made.clock[0] += 2
    made.storages.look()
    wait_for(lambda: record.problem == "")


def test_a_nearly_full_storage_is_told_before_anybody_waits(made: Server) -> None:
    be(made, free=3 * GIB)
    made.storages.look()
    assert problems(made) == "FV-NODE-061: storage main is nearly full: 3 GiB of 64 GiB are free"


def test_a_fault_on_a_sound_storage_is_tried_again_after_a_growing_pause(made: Server) -> None:
    stall(made, again=True)
    tries: list[float] = []
    start = made.clock[0]
    for _ in range(200):
        history = made.storages._waits._waits["hello"].history.failures
        made.storages.look()
        if made.storages._waits._waits["hello"].history.failures > history:
            tries.append(made.clock[0] - start)
        made.clock[0] += 1
    assert tries == [1, 3, 7, 15, 31, 63, 123, 183]
    assert "FV-NODE-066: guest hello waits: its disk" in problems(made)
    made.driver.mend_disk("hello")
    made.clock[0] += 60
    made.storages.look()
    assert state(made) is GuestState.RUNNING
    assert made.storages.look()
    assert problems(made) == ""


def test_a_fault_that_passes_at_once_is_no_problem_for_people(made: Server) -> None:
    stall(made)
    made.clock[0] += 1
    made.storages.look()
    assert state(made) is GuestState.RUNNING
    made.storages.look()
    assert not any("FV-NODE-066" in line for line in made.said)


def test_a_guest_that_waits_is_not_started_anew_by_the_keeper(made: Server) -> None:
    be(made, free=0)
    stall(made, full=True)
    made.keeper.look_again("hello")
    made.keeper.stop("second")
    assert state(made) is GuestState.PAUSED
    assert made.keeper.record("hello").restarts == 0


def test_a_guest_that_waits_can_be_stopped(made: Server) -> None:
    be(made, free=0)
    stall(made, full=True)
    made.storages.look()
    made.keeper.ask_to_stop("hello", force=True, grace=0)
    assert made.keeper.record("hello").gone.wait(LIMIT)
    be(made)
    made.storages.look()
    assert state(made) is None
    assert problems(made) == ""


def test_a_slow_storage_is_told_and_guests_go_on(made: Server) -> None:
    made.storages.look()
    be(made, answered=10, waited=25.0)
    made.clock[0] += 10
    made.storages.look()
    assert problems(made) == "FV-NODE-065: storage main is slow: a read or write takes 2.5 s"
    made.clock[0] += 10
    assert made.storages.look()


def test_a_stuck_storage_is_told_pauses_nobody_and_is_well_when_it_answers(made: Server) -> None:
    be(made, answered=10, in_flight=2)
    for _ in range(3):
        made.storages.look()
        made.clock[0] += 10
    assert problems(made) == "FV-NODE-065: storage main is stuck: 2 requests wait, none was answered for 20 s"
    assert state(made) is GuestState.RUNNING
    be(made, answered=12)
    assert made.storages.look()
    assert problems(made) == ""


def test_a_pulled_disk_that_comes_back_is_mounted_and_who_waited_is_started_anew(made: Server) -> None:
    disk = made.machine.pull(DEVICE)
    stall(made, again=True)
    made.storages.look()
    assert problems(made) == ("FV-NODE-064: storage main is gone: its disk is not there any more; guest hello waits")
    for _ in range(5):
        made.clock[0] += 60
        made.storages.look()
    assert state(made) is GuestState.PAUSED
    made.driver.mend_disk("hello")
    made.machine.put(replace(disk, device="/dev/fake-other", names=frozenset({"/dev/fake-other"})))
    made.storages.look()
    record = made.keeper.record("hello")
    wait_for(lambda: state(made) is GuestState.RUNNING)
    with record.busy:
        assert (record.wish, record.restarts) == (Wish.RUN, 1)
    assert state(made, "second") is GuestState.RUNNING
    assert made.keeper.record("second").restarts == 0
    assert made.storages.look()
    assert problems(made) == ""
    assert made.machine.formatted == [DEVICE]


def test_a_guest_that_noticed_nothing_is_started_anew_when_it_does(made: Server) -> None:
    disk = made.machine.pull(DEVICE)
    made.storages.look()
    made.clock[0] += 2
    made.machine.put(disk)
    made.storages.look()
    assert made.storages.reports()[0].state is StorageState.GONE
    made.storages.look()
    assert made.storages.reports()[0].state is StorageState.OK
    stall(made, again=True)
    made.driver.mend_disk("hello")
    made.clock[0] += 2
    made.storages.look()
    wait_for(lambda: made.keeper.record("hello").restarts == 1)
    assert made.keeper.record("second").restarts == 0


@pytest.mark.parametrize(
    "other",
    [
        blank_disk("data0"),
        replace(blank_disk("data0"), blank=False, signature=Signature("ext4", "photos")),
        replace(blank_disk("data0"), blank=False, signature=Signature("gpt")),
    ],
)
def test_another_disk_in_its_place_is_never_touched(made: Server, other: object) -> None:
    made.machine.pull(DEVICE)
    stall(made)
    made.storages.look()
    made.machine.put(other)  # type: ignore[arg-type]
    formatted = list(made.machine.formatted)
    for _ in range(5):
        made.clock[0] += 60
        made.storages.look()
    assert made.machine.formatted == formatted
    assert made.machine.disks()[-1] == other
    assert state(made) is GuestState.PAUSED
    assert "storage.main: /dev/fake-data0" in problems(made)


def test_a_read_only_storage_waits_for_those_that_run_and_is_then_checked_and_mounted(made: Server) -> None:
    be(made, read_only=True)
    stall(made, again=True)
    made.storages.look()
    assert "storage main is read-only" in problems(made)
    assert "guest hello waits; guest second still runs on it" in problems(made)
    made.clock[0] += 60
    made.storages.look()
    assert (state(made), state(made, "second")) == (GuestState.PAUSED, GuestState.RUNNING)
    made.driver.mend_disk("hello")
    made.keeper.stop("second")
    made.storages.look()
    wait_for(lambda: state(made) is GuestState.RUNNING)
    assert made.machine.volume(made.settings.storage("main")) == WELL
    assert made.storages.look()
    assert problems(made) == ""


def test_a_damaged_disk_is_not_mounted_and_its_guests_wait(made: Server) -> None:
    be(made, read_only=True)
    made.keeper.stop("second")
    stall(made)
    made.machine.damaged.add(DEVICE)
    for _ in range(3):
        made.clock[0] += 60
        made.storages.look()
    wait_for(lambda: "storage 'main' is not there" in made.keeper.record("hello").problem)
    assert "the file system on /dev/fake-data0 is damaged" in problems(made)
    assert made.storages.reports()[0].state is StorageState.GONE


def test_a_disk_that_was_missing_at_the_start_is_mounted_when_it_appears(made: Server, tmp_path: Path) -> None:
    flash, machine = made.flash, made.machine
    made.keeper.stop_all(0)
    machine.unmount(made.settings.storage("main"))
    disk = machine.pull(DEVICE)
    with server(tmp_path, flash=flash, machine=machine) as again:
        again.boot()
        assert "FV-NODE-002" in problems(again)
        again.storages.look()
        # It was told already.
        assert "FV-NODE-064" not in problems(again)
        machine.put(disk)
        again.clock[0] += 60
        again.storages.look()
        assert machine.is_mounted(again.settings.storage("main"))
        again.storages.look()
        assert problems(again) == ""
        wait_for(lambda: state(again) is GuestState.RUNNING)


def test_who_waits_is_known_after_a_restart_of_the_agent(made: Server) -> None:
    be(made, free=0)
    stall(made, full=True)
    around = Surroundings(
        made.storages._hands, made.reconciler, made.driver, now=lambda: made.clock[0], aside=lambda call: call()
    )
    with StorageKeeper(around) as again:
        again.look()
        assert again.reports()[0].waiting == ("hello",)
        be(made)
        made.clock[0] += 2
        again.look()
        assert state(made) is GuestState.RUNNING


def test_a_guest_that_people_paused_is_left_alone(made: Server) -> None:
    made.driver.pause("hello")
    made.clock[0] += 100
    assert made.storages.look()
    assert state(made) is GuestState.PAUSED


def test_a_hypervisor_that_refuses_a_resume_is_asked_again_later(made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    stall(made)
    asked: list[float] = []

    def refuse(_name: str) -> None:
        asked.append(made.clock[0])
        raise HypervisorError("guest hello could not be resumed")

    with monkeypatch.context() as patch:
        patch.setattr(made.driver, "resume", refuse)
        for _ in range(10):
            made.clock[0] += 1
            made.storages.look()
    assert [when - asked[0] for when in asked] == [0, 2, 6]
    made.clock[0] += 60
    made.storages.look()
    assert state(made) is GuestState.RUNNING


def test_a_resume_that_hangs_holds_up_nobody_else(made: Server) -> None:
    calls: list[Callable[[], None]] = []
    around = Surroundings(made.storages._hands, made.reconciler, made.driver, lambda: made.clock[0], calls.append)
    with StorageKeeper(around) as keeper:
        stall(made)
        stall(made, "second")
        made.clock[0] += 1
        for _ in range(3):
            keeper.look()
            made.clock[0] += 100
        assert len(calls) == 2
        calls[1]()
        assert (state(made), state(made, "second")) == (GuestState.PAUSED, GuestState.RUNNING)


def test_nothing_is_done_while_the_server_changes(made: Server) -> None:
    be(made, free=0)
    with made.reconciler.standing_still("a test"):
        assert made.storages.look()
    assert problems(made) == ""


def test_what_is_no_longer_in_the_site_is_no_problem(made: Server) -> None:
    be(made, free=3 * GIB)
    made.storages.look()
    assert problems(made)
    made.bring_up('schema = 1\n[node]\nname = "alpha"\n')
    made.storages.look()
    assert problems(made) == ""
    assert made.storages.reports() == ()


def test_the_watch_is_woken_by_a_guest_that_waits(made: Server) -> None:
    around = Surroundings(made.storages._hands, made.reconciler, made.driver)
    with StorageKeeper(around) as keeper:
        keeper.start()
        be(made, free=0)
        stall(made, full=True)
        wait_for(lambda: "guest hello waits" in problems(made))


def test_files_out_of_reach_are_a_problem_of_the_guest_and_tried_again(
    made: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.keeper.stop("hello")

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr("flashvisor.node.keeper.prepare", refuse)
        made.keeper.record("hello").wish = Wish.RUN
        made.keeper.look_again("hello")
        wait_for(lambda: "Read-only file system" in made.keeper.record("hello").problem)
        assert made.keeper.record("hello").problem.startswith("FV-NODE-067")
    wait_for(lambda: state(made) is GuestState.RUNNING)


NFS_SITE = SITE.replace('serial = "data0"', 'nfs = "nas.example:/vm"')
NAS = Export("nas.example", "/vm")


@pytest.fixture
def on_nas(tmp_path: Path) -> Iterator[Server]:
    machine = FakeMachine()
    machine.exports.add(NAS)
    with server(tmp_path, machine=machine) as made:
        made.bring_up(NFS_SITE)
        yield made


def test_a_guest_on_a_network_store_runs_on_a_server_without_disks(on_nas: Server) -> None:
    assert state(on_nas) is GuestState.RUNNING
    assert on_nas.storages.look()
    (report,) = on_nas.storages.reports()
    assert (report.state, report.guests, report.size) == (StorageState.OK, ("hello",), 64 * GIB)


def test_a_server_that_is_silent_pauses_its_guests_and_they_go_on_as_they_were(on_nas: Server) -> None:
    be(on_nas, present=False, remote=True, size=0, free=0)
    stall(on_nas, again=True)
    on_nas.storages.look()
    assert "storage main is gone: its server does not answer; guest hello waits" in problems(on_nas)
    for _ in range(5):
        on_nas.clock[0] += 60
        on_nas.storages.look()
    assert state(on_nas) is GuestState.PAUSED
    be(on_nas)
    on_nas.driver.mend_disk("hello")
    on_nas.storages.look()
    assert state(on_nas) is GuestState.RUNNING
    assert on_nas.keeper.record("hello").restarts == 0
    assert on_nas.storages.look()
    assert problems(on_nas) == ""


def test_a_guest_whose_files_the_server_forgot_is_started_anew(on_nas: Server) -> None:
    stall(on_nas, again=True)
    for _ in range(80):
        on_nas.clock[0] += 1
        on_nas.storages.look()
    wait_for(lambda: on_nas.keeper.record("hello").restarts == 1)
    assert on_nas.keeper.record("hello").wish is Wish.RUN


def test_an_export_that_was_not_there_at_the_start_is_mounted_later(on_nas: Server, tmp_path: Path) -> None:
    flash, machine = on_nas.flash, on_nas.machine
    on_nas.keeper.stop_all(0)
    machine.unmount(on_nas.settings.storage("main"))
    machine.exports.clear()
    with server(tmp_path, flash=flash, machine=machine) as again:
        again.boot()
        assert "FV-NODE-068: the NFS server nas.example does not answer" in problems(again)
        machine.exports.add(NAS)
        for _ in range(2):
            again.clock[0] += 60
            again.storages.look()
        assert machine.is_mounted(again.settings.storage("main"))
        wait_for(lambda: state(again) is GuestState.RUNNING)


def test_an_export_that_cannot_be_mounted_is_no_site(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        with pytest.raises(NfsError):
            made.bring_up(NFS_SITE)
        assert made.reconciler.now is None


MIRROR_SITE = SITE.replace('serial = "data0"', 'raid1 = ["A", "B"]')
HALF = "/dev/fake-B"


@pytest.fixture
def mirrored(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path, machine=FakeMachine((blank_disk("A"), blank_disk("B")))) as made:
        made.bring_up(MIRROR_SITE)
        yield made


def test_a_mirror_that_loses_a_half_runs_on_says_so_and_takes_it_in_again(mirrored: Server) -> None:
    assert mirrored.storages.look()
    disk = mirrored.machine.pull(HALF)
    mirrored.storages.look()
    assert problems(mirrored) == (
        "FV-NODE-069: storage main is degraded: it lies on one disk only, and the other one failed or is not there"
    )
    assert state(mirrored) is GuestState.RUNNING
    mirrored.machine.put(replace(disk, device="/dev/fake-again"))
    for _ in range(2):
        mirrored.clock[0] += 2
        mirrored.storages.look()
    assert problems(mirrored) == ""
    assert mirrored.machine.formatted == ["/dev/fake-fv-main"]
    # Nothing was mounted anew: a fault later on is nothing that only a new start could help.
    stall(mirrored)
    mirrored.clock[0] += 2
    mirrored.storages.look()
    assert state(mirrored) is GuestState.RUNNING
    assert mirrored.keeper.record("hello").restarts == 0


def test_a_new_disk_is_taken_into_a_mirror_when_the_site_names_it_and_guests_run_on(mirrored: Server) -> None:
    mirrored.machine.pull(HALF)
    mirrored.machine.put(blank_disk("C"))
    for _ in range(3):
        mirrored.clock[0] += 60
        mirrored.storages.look()
    assert mirrored.machine.disks()[-1] == blank_disk("C")
    assert "FV-NODE-069" in problems(mirrored)
    mirrored.reconciler.apply(request(MIRROR_SITE.replace('"B"', '"C"')))
    mirrored.reconciler.confirm()
    assert mirrored.storages.look()
    assert problems(mirrored) == ""
    assert mirrored.keeper.record("hello").restarts == 0
    assert state(mirrored) is GuestState.RUNNING


def test_a_foreign_disk_named_for_a_mirror_is_refused_before_anything_happens(mirrored: Server) -> None:
    mirrored.machine.pull(HALF)
    foreign = replace(blank_disk("C"), blank=False)
    mirrored.machine.put(foreign)
    with pytest.raises(ForeignDataError):
        mirrored.reconciler.apply(request(MIRROR_SITE.replace('"B"', '"C"')))
    assert mirrored.machine.disks()[-1] == foreign
    assert state(mirrored) is GuestState.RUNNING


def test_a_mirror_that_lost_both_halves_comes_back_with_both(mirrored: Server) -> None:
    first, second = mirrored.machine.pull("/dev/fake-A"), mirrored.machine.pull(HALF)
    stall(mirrored)
    mirrored.storages.look()
    assert "FV-NODE-064" in problems(mirrored)
    mirrored.machine.put(second)
    for _ in range(2):
        mirrored.clock[0] += 60
        mirrored.storages.look()
    # Which half is newer cannot be told from one of them.
    assert mirrored.storages.reports()[0].state is StorageState.GONE
    assert "need all 2 to start it" in problems(mirrored)
    mirrored.machine.put(first)
    for _ in range(2):
        mirrored.clock[0] += 60
        mirrored.storages.look()
    wait_for(lambda: state(mirrored) is GuestState.RUNNING)
    assert mirrored.storages.look()
    assert problems(mirrored) == ""
    assert mirrored.machine.formatted == ["/dev/fake-fv-main"]


def test_blank_disks_in_place_of_a_whole_mirror_are_not_taken(mirrored: Server) -> None:
    mirrored.machine.pull("/dev/fake-A")
    mirrored.machine.pull(HALF)
    mirrored.machine.put(blank_disk("A"))
    mirrored.machine.put(blank_disk("B"))
    for _ in range(3):
        mirrored.clock[0] += 60
        mirrored.storages.look()
    assert mirrored.machine.disks() == (blank_disk("A"), blank_disk("B"))
    assert "is blank, so it is not the disk that was lost" in problems(mirrored)
