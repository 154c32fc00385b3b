"""What an event changes in what is known of a guest."""

from __future__ import annotations

import pytest

from flashvisor.guests.driver import GuestEvent
from flashvisor.guests.supervise import Wish, note_start
from flashvisor.guests.turns import Standing
from flashvisor.model.guest import GuestState
from flashvisor.model.site import Guest, OnCrash, OnFail, Probe, Restarts
from flashvisor.node.guestrecord import Record

PANIC = GuestEvent("web", GuestState.CRASHED, "its kernel panicked")
KEPT = GuestEvent("web", GuestState.KEPT, "its kernel panicked")
OFF = GuestEvent("web", GuestState.STOPPED, "shut down")
BITE = GuestEvent("web", GuestState.RUNNING, "its watchdog reset it", watchdog=True)
BITE_OFF = GuestEvent("web", GuestState.STOPPED, "its watchdog powered it off", watchdog=True)


def guest(**words: object) -> Guest:
    return Guest(image="hello", memory="64MiB", **words)  # type: ignore[arg-type]


def running(now: float = 0.0) -> Record:
    record = Record("web", wish=Wish.RUN, started=now, answered=now)
    record.history = note_start(record.history, now)
    return record


def test_a_crash_is_told_and_followed_by_a_start() -> None:
    record = running()
    record.end(PANIC, guest(), 5.0, 50.0)
    assert (record.wish, record.problem) == (Wish.RUN, "crashed: its kernel panicked")
    assert (record.failure, record.failed, record.answered) == ("its kernel panicked", 50.0, None)


def test_a_clean_end_is_no_failure() -> None:
    record = running()
    record.end(OFF, guest(), 5.0, 50.0)
    assert (record.wish, record.problem, record.failure) == (Wish.REST, "", "")


def test_what_people_asked_for_is_no_failure_either() -> None:
    record = running()
    record.wish = Wish.REST
    record.end(PANIC, guest(), 5.0, 50.0)
    assert (record.wish, record.failure, record.history.failures) == (Wish.REST, "", 0)


def test_too_many_crashes_leave_a_guest_down_and_say_so() -> None:
    wish = guest(restarts=Restarts(max=2, within="10m"))
    record = running()
    for crash in range(2):
        record.end(PANIC, wish, crash * 10.0, 0.0)
        assert record.wish is Wish.RUN
    record.end(PANIC, wish, 20.0, 0.0)
    assert record.wish is Wish.REST
    assert record.problem == "crashed: its kernel panicked. FV-GUEST-030: 2 restarts within 10 min did not help"


def test_a_guest_is_kept_if_the_site_says_so() -> None:
    record = running()
    assert record.keep(KEPT, guest(on_crash=OnCrash.KEEP), 5.0, 50.0)
    assert (record.wish, record.problem, record.failure) == (
        Wish.KEEP,
        "kept: its kernel panicked",
        "its kernel panicked",
    )
    assert record.seen(GuestState.KEPT, asked=False).standing is Standing.DOWN


@pytest.mark.parametrize("on_crash", [OnCrash.RESTART, OnCrash.STOP])
def test_else_the_hypervisor_is_about_to_end_it(on_crash: OnCrash) -> None:
    record = running()
    assert not record.keep(KEPT, guest(on_crash=on_crash), 5.0, 50.0)
    assert (record.wish, record.problem) == (Wish.RUN, "")


def test_a_guest_that_panics_on_its_way_down_is_not_kept() -> None:
    record = running()
    record.wish = Wish.REST
    assert not record.keep(KEPT, guest(on_crash=OnCrash.KEEP), 5.0, 50.0)


def test_a_watchdog_that_resets_its_guest_is_counted() -> None:
    record = running()
    record.bite(BITE, 50.0)
    record.bite(BITE, 60.0)
    assert (record.watchdogs, record.failure, record.failed) == (2, "its watchdog reset it", 60.0)
    assert record.answered is None
    record.end(OFF, guest(), 70.0, 70.0)
    assert record.wish is Wish.REST  # it shut down by itself, later


def test_a_guest_that_its_watchdog_powered_off_has_crashed() -> None:
    record = running()
    record.bite(BITE_OFF, 50.0)
    record.end(OFF, guest(), 5.0, 51.0)
    assert (record.wish, record.problem) == (Wish.RUN, "crashed: its watchdog powered it off")
    record.end(OFF, guest(), 6.0, 52.0)
    assert record.wish is Wish.REST


def test_an_answer_ends_a_problem_and_counts_from_the_first_on() -> None:
    record = running()
    record.hear("Connection refused", 5.0, 50.0)
    assert record.problem == "FV-GUEST-004: guest web does not answer: Connection refused"
    assert record.failure == "it did not answer: Connection refused"
    answered = [record.answered]
    for now in (6.0, 7.0):
        record.hear("", now, now * 10)
        answered.append(record.answered)
    assert answered == [None, 60.0, 60.0]
    assert record.problem == ""
    assert (record.failure, record.failed) == ("it did not answer: Connection refused", 50.0)


def test_silence_is_followed_by_what_the_site_says() -> None:
    restart, tell = Probe(tcp=1, on_fail=OnFail.RESTART), Probe(tcp=1)
    for wish, renewed in ((guest(probe=restart), True), (guest(probe=tell), False), (guest(), False), (None, False)):
        record = running()
        record.hear("no answer", 5.0, 50.0)
        assert record.renew(wish, 5.0) is renewed
        assert record.wish is (Wish.RENEW if renewed else Wish.RUN)


def test_who_answers_again_meanwhile_is_left_alone() -> None:
    record = running()
    record.hear("no answer", 5.0, 50.0)
    record.hear("", 6.0, 60.0)
    assert not record.renew(guest(probe=Probe(tcp=1, on_fail=OnFail.RESTART)), 6.0)


def test_too_many_renewals_leave_a_guest_running() -> None:
    wish = guest(probe=Probe(tcp=1, on_fail=OnFail.RESTART), restarts=Restarts(max=1))
    record = running()
    record.hear("no answer", 5.0, 50.0)
    assert record.renew(wish, 5.0)
    record.end(OFF, wish, 6.0, 60.0)
    assert (record.wish, record.history.failures) == (Wish.RUN, 1)
    record.hear("no answer", 7.0, 70.0)
    assert not record.renew(wish, 7.0)
    assert record.wish is Wish.RUN
    assert "FV-GUEST-030: 1 restarts" in record.problem


def test_what_others_see() -> None:
    record = Record("web")
    assert record.seen(None, asked=True).standing is Standing.DOWN
    record.wish = Wish.RUN
    assert record.seen(None, asked=True).standing is Standing.COMING
    record.end(PANIC, guest(), 5.0, 50.0)
    assert record.seen(None, asked=True).standing is Standing.FAILED
    assert record.seen(GuestState.RUNNING, asked=True).standing is Standing.STARTED
    assert record.seen(GuestState.RUNNING, asked=False).standing is Standing.ANSWERS
    record.hear("", 6.0, 60.0)
    assert record.seen(GuestState.RUNNING, asked=True).standing is Standing.ANSWERS
    assert record.seen(GuestState.RUNNING, asked=True).since == 6.0
    record.hear("no", 7.0, 70.0)
    assert record.seen(GuestState.RUNNING, asked=True).standing is Standing.SILENT
