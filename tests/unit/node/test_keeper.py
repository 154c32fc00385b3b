"""Guests are kept running, stopped when told, and left alone otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import GuestFilesError, GuestStateError, HypervisorError, UnknownGuestError
from flashvisor.guests.fake import FakeDriver
from flashvisor.guests.supervise import Wish
from flashvisor.model.guest import GuestState
from flashvisor.node.questions import Tcp
from sim.nodekit import SECOND_GUEST, SITE, Server, desired, server
from sim.watcher import LIMIT, Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.node.guestfiles import Places


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path) as made:
        yield made


def test_a_crashed_guest_is_started_again(made: Server) -> None:
    made.bring_up()
    watcher = Watcher(made.driver)
    made.driver.crash("hello")
    watcher.wait("hello", GuestState.RUNNING)
    record = made.keeper.record("hello")
    with record.busy:  # the worker notes the restart before it lets go
        assert record.restarts == 1
        assert "panicked" in record.problem


def test_a_crashed_guest_stays_down_where_the_site_says_so(made: Server) -> None:
    made.bring_up(SITE.replace('memory = "64MiB"', 'memory = "64MiB"\non_crash = "stop"'))
    made.driver.crash("hello")
    record = made.keeper.record("hello")
    assert record.gone.wait(LIMIT)
    with pytest.raises(GuestStateError):
        made.keeper.ask_to_stop("hello", force=False, grace=1)
    assert record.wish is Wish.REST


def test_a_guest_that_shuts_itself_down_stays_down_until_started_by_hand(made: Server) -> None:
    made.bring_up()
    made.driver.power_off("hello")
    assert made.keeper.record("hello").gone.wait(LIMIT)
    assert made.driver.domains() == {}
    now = made.reconciler.now
    assert now is not None
    made.keeper.start("hello", now.desired, by_hand=True)
    assert made.driver.domains() == {"hello": GuestState.RUNNING}


def test_a_start_of_a_guest_that_runs_touches_none_of_its_files(made: Server) -> None:
    made.bring_up()

    def in_use(name: str) -> Places:
        raise GuestFilesError(f"the files of {name} are in use")

    made.keeper.use(desired(), in_use)
    with pytest.raises(GuestStateError, match="already running"):
        made.keeper.start("hello", desired(), by_hand=True)
    record = made.keeper.record("hello")
    assert (record.problem, record.failure, record.gone.is_set()) == ("", "", False)


def test_a_guest_answers_once_and_its_restart_answers_anew(made: Server) -> None:
    made.bring_up()
    assert made.asker.watched["hello"].target == Tcp("10.77.0.10", 80)
    made.asker.answered("hello")
    first = made.keeper.record("hello").answered
    assert first is not None
    assert len([line for line in made.said if "stage=guest-hello-answered" in line]) == 1
    made.keeper.stop("hello")
    assert made.keeper.record("hello").answered is None
    assert made.asker.watched == {}


def test_stopping_by_hand_is_not_undone(made: Server) -> None:
    made.bring_up()
    made.keeper.ask_to_stop("hello", force=True, grace=0)
    assert made.keeper.record("hello").gone.wait(LIMIT)
    assert made.driver.domains() == {}


def test_a_trial_waits_for_a_guest_that_does_not_run_unless_people_stopped_it(made: Server) -> None:
    made.bring_up()
    made.driver.power_off("hello")
    assert made.keeper.record("hello").gone.wait(LIMIT)
    assert made.keeper.silent(["hello"]) == ("guest hello does not run",)
    made.keeper.start("hello", desired(), by_hand=True)
    made.keeper.ask_to_stop("hello", force=True, grace=0)
    assert made.keeper.record("hello").gone.wait(LIMIT)
    assert made.keeper.silent(["hello"]) == ()
    made.keeper.start("hello", desired(), by_hand=True)
    assert made.keeper.silent(["hello"]) == ("guest hello does not answer",)


def test_a_trial_does_not_wait_for_a_guest_that_no_start_of_the_server_starts(tmp_path: Path) -> None:
    text = SITE.replace("[guest.hello]", "[guest.hello]\nautostart = false")
    with server(tmp_path) as made:
        made.bring_up(text)
        made.keeper.start("hello", desired(text), by_hand=True)
        assert made.keeper.running() == {"hello"}
        flash, machine = made.flash, made.machine
    with server(tmp_path, flash=flash, machine=machine) as again:
        again.boot()
        assert again.keeper.running() == frozenset()
        assert again.keeper.silent(["hello"]) == ()


def test_a_guest_that_ignores_its_button_is_stopped_by_force_after_its_grace(tmp_path: Path) -> None:
    with server(tmp_path, driver=FakeDriver(obedient=False)) as made:
        made.bring_up()
        watcher = Watcher(made.driver)
        made.keeper.ask_to_stop("hello", force=False, grace=0.05)
        watcher.wait("hello", GuestState.STOPPED)


def test_all_guests_are_down_before_the_server_goes_down(tmp_path: Path) -> None:
    with server(tmp_path, driver=FakeDriver(obedient=False)) as made:
        made.bring_up(SITE + SECOND_GUEST)
        made.keeper.stop_all(grace=0.05)
        assert made.driver.domains() == {}


def test_a_start_that_fails_is_told_and_tried_again(made: Server) -> None:
    made.bring_up()
    made.keeper.stop("hello")
    now = made.reconciler.now
    assert now is not None
    watcher = Watcher(made.driver)
    made.driver.fail_next("no memory left")
    with pytest.raises(HypervisorError):
        made.keeper.start("hello", now.desired, by_hand=True)
    assert "FV-GUEST-003" in made.keeper.record("hello").problem
    watcher.wait("hello", GuestState.RUNNING)


def test_starting_twice_is_refused(made: Server) -> None:
    made.bring_up()
    now = made.reconciler.now
    assert now is not None
    with pytest.raises(GuestStateError):
        made.keeper.start("hello", now.desired, by_hand=True)
    assert made.driver.domains() == {"hello": GuestState.RUNNING}


def test_a_guest_that_is_in_no_site(made: Server) -> None:
    with pytest.raises(UnknownGuestError, match="'web'"):
        made.keeper.record("web")


def test_a_paused_guest_is_a_problem_in_words(made: Server) -> None:
    made.bring_up(SITE + SECOND_GUEST)
    watcher = Watcher(made.driver)
    made.driver.pause("hello")
    watcher.wait("hello", GuestState.PAUSED)
    # Another guest's end is handled after the pause was: events keep their order.
    made.driver.power_off("second")
    assert made.keeper.record("second").gone.wait(LIMIT)
    assert made.keeper.record("hello").problem == "paused: a disk of it failed or is full"
