"""Guests that crash, hang or fall silent: each as the site says."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flashvisor.guests.fake import FakeDriver
from flashvisor.guests.supervise import Wish
from flashvisor.model.guest import GuestState
from flashvisor.node.questions import Agent, Arp, Http, Tcp
from sim.nodekit import SECOND_GUEST, SITE, Server, desired, server
from sim.watcher import LIMIT, Watcher, settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEEP = SITE + 'on_crash = "keep"\n'
RENEW = SITE + 'probe = { http = "/", on_fail = "restart" }\n'
LIMITED = "restarts = { max = 2 }\n"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path, frozen=True) as made:
        yield made


def later(made: Server, seconds: float) -> None:
    """Lets the keeper's clock run on, and the keeper look at it."""
    made.clock[0] += seconds
    made.keeper._events.put("hello")
    settle(made)


def test_a_crashed_guest_is_kept_until_people_start_it(made: Server) -> None:
    watcher = Watcher(made.driver)
    made.bring_up(KEEP)
    made.driver.crash("hello")
    settle(made)
    record = made.keeper.record("hello")
    assert made.driver.domains() == {"hello": GuestState.KEPT}
    assert (record.wish, record.problem) == (Wish.KEEP, "kept: its kernel panicked")
    assert made.asker.watched == {}
    assert made.keeper.silent(["hello"]) == ("guest hello crashed, and is kept as it was",)
    later(made, 1000.0)
    assert made.driver.domains() == {"hello": GuestState.KEPT}
    made.keeper.start("hello", desired(KEEP), by_hand=True)
    assert watcher.ended() == ["hello"]
    assert made.driver.domains() == {"hello": GuestState.RUNNING}
    assert record.problem == ""


def test_a_kept_guest_can_be_stopped(made: Server) -> None:
    made.bring_up(KEEP)
    made.driver.crash("hello")
    settle(made)
    made.keeper.ask_to_stop("hello", force=False, grace=30.0)
    settle(made)
    assert made.driver.domains() == {}
    assert made.keeper.record("hello").problem == ""
    later(made, 100.0)
    assert made.driver.domains() == {}


def test_an_apply_takes_a_kept_guest_away(made: Server) -> None:
    made.bring_up(KEEP)
    made.driver.crash("hello")
    settle(made)
    made.bring_up(SITE)
    assert made.driver.domains() == {"hello": GuestState.RUNNING}
    assert made.keeper.record("hello").problem == ""


def test_a_kept_guest_does_not_keep_the_server_up(made: Server) -> None:
    made.bring_up(KEEP)
    made.driver.crash("hello")
    settle(made)
    made.keeper.stop_all(grace=0.1)
    assert made.driver.domains() == {}


def test_a_kept_guest_is_found_again(tmp_path: Path) -> None:
    driver = FakeDriver()
    with server(tmp_path, driver=driver) as made:
        made.bring_up(KEEP)
        made.driver.crash("hello")
        settle(made)
        flash, machine = made.flash, made.machine
    with server(tmp_path, flash=flash, machine=machine, driver=driver, frozen=True) as again:
        again.boot()
        settle(again)
        assert driver.domains() == {"hello": GuestState.KEPT}
        assert again.asker.watched == {}
        assert again.keeper.record("hello").problem.startswith("kept: ")


def test_a_paused_guest_that_is_found_again_is_asked_once_it_goes_on(tmp_path: Path) -> None:
    driver = FakeDriver()
    with server(tmp_path, driver=driver) as made:
        made.bring_up(RENEW)
        made.driver.pause("hello")
        flash, machine = made.flash, made.machine
    with server(tmp_path, flash=flash, machine=machine, driver=driver) as again:
        again.boot()
        assert again.asker.watched == {}
        assert again.keeper.record("hello").problem.startswith("paused: ")
        driver._change("hello", GuestState.RUNNING, "runs")
        settle(again)
        assert set(again.asker.watched) == {"hello"}
        assert again.keeper.record("hello").problem == ""


def test_what_is_not_to_be_kept_is_taken_away_if_the_hypervisor_does_not(made: Server) -> None:
    made.bring_up(SITE)
    driver = made.driver
    # As if libvirt had been killed between the panic and the end.
    driver._specs["hello"] = replace(driver.spec("hello"), keep=True)
    driver.crash("hello")
    settle(made)
    assert driver.domains() == {"hello": GuestState.KEPT}
    later(made, 5.0)
    later(made, 1.0)
    assert driver.domains() == {"hello": GuestState.RUNNING}


def test_crashes_without_end_are_ended(made: Server) -> None:
    watcher = Watcher(made.driver)
    made.bring_up(SITE + LIMITED)
    for crash in range(1, 3):
        made.driver.crash("hello")
        settle(made)
        later(made, 60.0)
        watcher.wait("hello", GuestState.RUNNING, times=crash + 1)
    made.driver.crash("hello")
    settle(made)
    later(made, 600.0)
    assert made.driver.domains() == {}
    assert "FV-GUEST-030: 2 restarts within 10 min did not help" in made.keeper.record("hello").problem
    made.keeper.start("hello", desired(SITE + LIMITED), by_hand=True)
    made.driver.crash("hello")
    settle(made)
    later(made, 60.0)
    assert made.driver.domains() == {"hello": GuestState.RUNNING}


def test_a_guest_that_hangs_is_counted_and_asked_anew(made: Server) -> None:
    made.bring_up()
    made.asker.answered("hello")
    record = made.keeper.record("hello")
    assert record.answered is not None
    made.driver.bite("hello")
    settle(made)
    assert (record.watchdogs, record.failure) == (1, "its watchdog reset it")
    assert made.keeper.silent(["hello"]) == ("guest hello does not answer",)
    assert made.driver.domains() == {"hello": GuestState.RUNNING}
    assert record.restarts == 0


def test_a_silent_guest_is_started_anew(made: Server) -> None:
    watcher = Watcher(made.driver)
    made.bring_up(RENEW)
    made.asker.answered("hello")
    made.asker.silent("hello", "no answer in time")
    settle(made)
    assert watcher.ended() == ["hello"]
    later(made, 1.0)
    assert made.driver.domains() == {"hello": GuestState.RUNNING}
    record = made.keeper.record("hello")
    assert record.restarts == 1
    assert record.answered is None
    assert record.failure == "it did not answer: no answer in time"
    assert record.wish is Wish.RUN


def test_a_silent_guest_that_ignores_its_button_is_forced(tmp_path: Path) -> None:
    with server(tmp_path, driver=FakeDriver(obedient=False), frozen=True) as made:
        watcher = Watcher(made.driver)
        made.bring_up(RENEW)
        made.asker.silent("hello", "no answer in time")
        settle(made)
        later(made, 29.0)
        assert watcher.ended() == []
        later(made, 1.0)
        assert watcher.ended() == ["hello"]
        later(made, 1.0)
        assert made.driver.domains() == {"hello": GuestState.RUNNING}


def test_a_silent_guest_is_only_told_unless_the_site_says_more(made: Server) -> None:
    made.bring_up(SITE + 'probe = { http = "/" }\n')
    made.asker.answered("hello")
    made.asker.silent("hello", "no answer in time")
    settle(made)
    record = made.keeper.record("hello")
    assert made.driver.domains() == {"hello": GuestState.RUNNING}
    assert record.problem == "FV-GUEST-004: guest hello does not answer: no answer in time"
    assert made.keeper.silent(["hello"]) == ("guest hello does not answer",)
    made.asker.answered("hello")
    assert record.problem == ""
    assert made.keeper.silent(["hello"]) == ()


def test_who_stands_still_is_not_asked(made: Server) -> None:
    made.bring_up(RENEW)
    made.driver.pause("hello")
    settle(made)
    assert made.asker.watched == {}
    made.driver._change("hello", GuestState.RUNNING, "runs")
    settle(made)
    assert set(made.asker.watched) == {"hello"}
    assert made.keeper.record("hello").problem == ""


def test_news_of_a_guest_that_has_ended_are_too_late(made: Server) -> None:
    made.bring_up()
    made.keeper.stop("hello")
    made.asker.answered("hello")
    assert made.keeper.record("hello").answered is None


def test_another_probe_is_asked_at_once_and_the_guest_runs_on(made: Server) -> None:
    made.bring_up(SITE + SECOND_GUEST)
    made.asker.answered("hello")
    made.asker.answered("second")
    started = made.keeper.record("hello").started
    made.bring_up(SITE + 'probe = { http = "/" }\n' + SECOND_GUEST)
    record = made.keeper.record("hello")
    assert (record.started, record.answered) == (started, None)
    targets = [made.asker.watched["hello"].target]
    assert made.keeper.record("second").answered is not None
    assert isinstance(made.asker.watched["second"].target, Arp)
    made.bring_up(SITE + SECOND_GUEST)
    targets.append(made.asker.watched["hello"].target)
    assert targets == [Http("10.77.0.10", 80, "/", 200), Tcp("10.77.0.10", 80)]


def test_a_guest_whose_agent_is_asked_starts_with_a_channel_to_it(made: Server) -> None:
    made.bring_up()
    assert not made.driver.spec("hello").agent
    watcher = Watcher(made.driver)
    made.bring_up(SITE + "probe = { agent = true }\n")
    assert watcher.ended() == ["hello"]
    assert made.driver.spec("hello").agent
    assert isinstance(made.asker.watched["hello"].target, Agent)


def test_a_guest_found_again_is_asked_on_if_its_probe_lasts(tmp_path: Path) -> None:
    driver = FakeDriver()
    with server(tmp_path, driver=driver) as made:
        made.bring_up(RENEW + SECOND_GUEST)
        made.asker.answered("hello")
        made.asker.answered("second")
        answered = made.keeper.record("hello").answered
        flash, machine = made.flash, made.machine
    with server(tmp_path, flash=flash, machine=machine, driver=driver) as again:
        again.boot()
        assert set(again.asker.watched) == {"hello"}
        again.asker.answered("hello")
        assert again.keeper.record("hello").answered == answered


def test_silence_while_somebody_works_on_the_guest_is_dealt_with_afterwards(made: Server) -> None:
    watcher = Watcher(made.driver)
    made.bring_up(RENEW)
    record, let_go = made.keeper.record("hello"), threading.Event()

    def work() -> None:
        with record.busy:
            let_go.wait(LIMIT)

    thread = threading.Thread(target=work)
    thread.start()
    made.asker.silent("hello", "no answer in time")
    settle(made)
    assert watcher.ended() == []
    let_go.set()
    thread.join()
    later(made, 0.0)
    assert watcher.ended() == ["hello"]
