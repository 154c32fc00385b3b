"""The restart policy: every state has an answer, crashes wait longer and longer, people are obeyed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.guests.supervise import (
    ACTIONS,
    LONGEST_DELAY,
    STEADY,
    WISHES,
    Action,
    Cause,
    Decision,
    History,
    Wish,
    decide,
    end_cause,
    forgive,
    is_spent,
    next_wish,
    note_end,
    note_fault,
    note_start,
    note_stop_asked,
    start_due,
)
from flashvisor.model.guest import GuestState
from flashvisor.model.site import OnCrash, Restarts

NOTHING = Decision(Action.NOTHING)


def test_the_tables_are_complete() -> None:
    assert set(WISHES) == set(itertools.product(Wish, Cause))
    assert set(ACTIONS) == set(itertools.product(Wish, [None, *GuestState]))


def test_a_wanted_guest_is_started_at_once() -> None:
    assert next_wish(Wish.REST, Cause.SITE) is Wish.RUN
    assert decide(Wish.RUN, None, History(), 5.0) == Decision(Action.START)


def test_a_running_guest_is_left_alone() -> None:
    assert decide(Wish.RUN, GuestState.RUNNING, note_start(History(), 1.0), 2.0) == NOTHING


def test_a_guest_that_shut_itself_down_stays_down() -> None:
    wish = next_wish(Wish.RUN, end_cause(GuestState.STOPPED, OnCrash.RESTART))
    assert decide(wish, None, note_end(note_start(History(), 1.0), 9.0, clean=True), 10.0) == NOTHING
    assert next_wish(wish, Cause.STARTED_BY_HAND) is Wish.RUN


@pytest.mark.parametrize(
    ("on_crash", "wish"), [(OnCrash.RESTART, Wish.RUN), (OnCrash.STOP, Wish.REST), (OnCrash.KEEP, Wish.REST)]
)
def test_a_crash_follows_the_site(on_crash: OnCrash, wish: Wish) -> None:
    assert next_wish(Wish.RUN, end_cause(GuestState.CRASHED, on_crash)) is wish


def test_a_crash_while_stopping_starts_nothing() -> None:
    wish = next_wish(next_wish(Wish.RUN, Cause.STOPPED_BY_HAND), Cause.CRASHED_RESTART)
    assert wish is Wish.REST
    assert decide(wish, None, note_end(History(), 1.0), 100.0) == NOTHING


def test_each_crash_waits_longer() -> None:
    history, now, delays = History(), 0.0, []
    for _ in range(9):
        history = note_end(note_start(history, now), now + 1)
        now += 1
        decision = decide(Wish.RUN, None, history, now)
        assert decision.action is Action.WAIT
        assert decision.due is not None
        delays.append(decision.due - now)
        now = decision.due
        assert decide(Wish.RUN, None, history, now) == Decision(Action.START)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_steady_run_is_forgiven() -> None:
    history = History(failures=6)
    almost = note_end(note_start(history, 0.0), STEADY - 1)
    steady = note_end(note_start(history, 0.0), STEADY)
    assert start_due(almost) == STEADY - 1 + LONGEST_DELAY
    assert start_due(steady) == STEADY + 1


def test_a_failed_start_waits_too() -> None:
    history = note_end(note_end(History(), 1.0), 2.0)
    assert history.failures == 2
    assert decide(Wish.RUN, None, history, 3.0) == Decision(Action.WAIT, 4.0)


def test_a_clean_end_forgets_crashes() -> None:
    assert decide(Wish.RUN, None, note_end(History(failures=5), 1.0, clean=True), 1.0) == Decision(Action.START)


def test_stopping_asks_then_waits_then_forces() -> None:
    history = note_start(History(), 0.0)
    assert decide(Wish.REST, GuestState.RUNNING, history, 10.0) == Decision(Action.PRESS_BUTTON)
    history = note_stop_asked(history, 10.0, grace=30.0)
    for state in (GuestState.RUNNING, GuestState.STOPPING):
        assert decide(Wish.REST, state, history, 39.0) == Decision(Action.WAIT, 40.0)
        assert decide(Wish.REST, state, history, 40.0) == Decision(Action.FORCE_STOP)
    assert note_end(history, 41.0, clean=True).force_at is None
    assert note_start(history, 41.0).force_at is None


def test_a_paused_guest_cannot_hear_its_button() -> None:
    assert decide(Wish.REST, GuestState.PAUSED, History(), 0.0) == Decision(Action.FORCE_STOP)
    assert decide(Wish.RUN, GuestState.PAUSED, History(), 0.0) == NOTHING


def test_a_guest_that_ends_anyway_is_not_pressed() -> None:
    assert decide(Wish.REST, GuestState.STOPPING, History(), 0.0) == Decision(Action.WAIT)


@given(
    st.sampled_from(Wish),
    st.sampled_from([None, *GuestState]),
    st.integers(0, 10**9),
    st.none() | st.floats(0, 1e9),
    st.floats(0, 1e9),
)
def test_no_wait_is_longer_than_the_longest(
    wish: Wish, observed: GuestState | None, failures: int, ended: float | None, now: float
) -> None:
    decision = decide(wish, observed, History(failures=failures, ended=ended), now)
    if decision.due is not None:
        assert ended is not None
        assert now < decision.due <= ended + LONGEST_DELAY


def test_a_kept_guest_is_left_alone_until_people_want_something_of_it() -> None:
    wish = next_wish(Wish.RUN, Cause.CRASHED_KEEP)
    assert wish is Wish.KEEP
    assert decide(wish, GuestState.KEPT, History(), 1.0) == NOTHING
    for cause, after in ((Cause.STARTED_BY_HAND, Wish.RUN), (Cause.STOPPED_BY_HAND, Wish.REST)):
        assert next_wish(wish, cause) is after
        assert decide(after, GuestState.KEPT, History(), 1.0) == Decision(Action.FORCE_STOP)


def test_a_guest_that_crashes_on_its_way_down_is_not_kept() -> None:
    assert next_wish(Wish.REST, Cause.CRASHED_KEEP) is Wish.REST


def test_a_silent_guest_is_asked_to_end_then_forced_then_started_anew() -> None:
    wish, history = next_wish(Wish.RUN, Cause.SILENT), note_start(History(), 0.0)
    assert decide(wish, GuestState.RUNNING, history, 10.0) == Decision(Action.PRESS_BUTTON)
    history = note_stop_asked(history, 10.0, grace=30.0)
    assert decide(wish, GuestState.RUNNING, history, 20.0) == Decision(Action.WAIT, 40.0)
    assert decide(wish, GuestState.STOPPING, history, 40.0) == Decision(Action.FORCE_STOP)
    wish, history = next_wish(wish, Cause.SHUT_DOWN), note_end(history, 41.0)
    assert decide(wish, None, history, 41.0) == Decision(Action.WAIT, 42.0)
    assert decide(wish, None, history, 42.0) == Decision(Action.START)


def test_people_may_stop_a_guest_that_is_being_renewed() -> None:
    wish = next_wish(next_wish(Wish.RUN, Cause.SILENT), Cause.STOPPED_BY_HAND)
    assert next_wish(wish, Cause.SHUT_DOWN) is Wish.REST


def test_five_restarts_in_ten_minutes_are_enough() -> None:
    limit, history = Restarts(max=5, within="10m"), History()
    for crash in range(5):
        history = note_fault(history, crash * 100.0)
        assert not is_spent(history, limit, crash * 100.0)
    assert is_spent(note_fault(history, 599.0), limit, 599.0)
    assert not is_spent(note_fault(history, 600.0), limit, 600.0)  # the first is ten minutes ago
    assert not is_spent(note_fault(history, 599.0), None, 599.0)
    assert not is_spent(note_fault(forgive(history), 599.0), limit, 599.0)


def test_no_more_is_remembered_than_counts() -> None:
    history = History()
    for crash in range(1000):
        history = note_fault(history, float(crash))
    assert len(history.faults) == 101
    assert is_spent(history, Restarts(max=100, within="24h"), 1000.0)


def test_what_counts_outlives_starts_and_ends() -> None:
    history = note_end(note_start(note_fault(History(), 1.0), 2.0), 3.0, clean=True)
    assert history.faults == (1.0,)
