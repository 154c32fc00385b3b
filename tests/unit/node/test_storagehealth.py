"""A storage's state: when it is entered, and that it is left later."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.host.volume import Reading
from flashvisor.model.storagestate import FIT, StorageState
from flashvisor.node.storagehealth import Health, full_limit, judge, waiting_words, words

GIB = 1 << 30  # bytes
MIB = 1 << 20  # bytes
CALM = Reading(size=100 * GIB, free=50 * GIB, answered=1000, waited=1.0)


def after(state: StorageState, reading: Reading, seconds: float = 10.0, **changes: float) -> Health:
    """The health after one that had this state."""
    return judge(replace(judge(None, CALM, 0.0), state=state), replace(reading, **changes), seconds)  # type: ignore[arg-type]


def test_a_calm_storage_is_ok() -> None:
    assert judge(None, CALM, 0.0).state is StorageState.OK
    assert judge(judge(None, CALM, 0.0), CALM, 10.0).state is StorageState.OK


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"free": 0}, StorageState.FULL),
        ({"free": 64 * MIB - 1}, StorageState.FULL),
        ({"free": 64 * MIB}, StorageState.NEARLY_FULL),
        ({"free": 5 * GIB - 1}, StorageState.NEARLY_FULL),
        ({"free": 5 * GIB}, StorageState.OK),
        ({"read_only": True, "free": 0}, StorageState.READ_ONLY),
        ({"present": False, "read_only": True}, StorageState.GONE),
        ({"missing": 1}, StorageState.DEGRADED),
        ({"missing": 1, "answered": 1010, "waited": 11.0}, StorageState.DEGRADED),
        ({"missing": 1, "free": 0}, StorageState.FULL),
        ({"answered": 1010, "waited": 11.0}, StorageState.SLOW),
        ({"answered": 1010, "waited": 10.9}, StorageState.OK),
        ({"answered": 1010, "waited": 11.0, "free": 0}, StorageState.FULL),
    ],
)
def test_what_follows_from_the_figures(changes: dict[str, float], state: StorageState) -> None:
    assert after(StorageState.OK, CALM, **changes).state is state


def test_nothing_mounted_is_gone() -> None:
    assert judge(judge(None, CALM, 0.0), None, 1.0).state is StorageState.GONE


@pytest.mark.parametrize(
    ("was", "changes", "state"),
    [
        (StorageState.FULL, {"free": 128 * MIB - 1}, StorageState.FULL),
        (StorageState.FULL, {"free": 128 * MIB}, StorageState.NEARLY_FULL),
        (StorageState.NEARLY_FULL, {"free": 6 * GIB - 1}, StorageState.NEARLY_FULL),
        (StorageState.NEARLY_FULL, {"free": 6 * GIB}, StorageState.OK),
        (StorageState.SLOW, {"answered": 1010, "waited": 6.0}, StorageState.SLOW),
        (StorageState.SLOW, {"answered": 1010, "waited": 5.9}, StorageState.OK),
        (StorageState.SLOW, {}, StorageState.OK),
    ],
)
def test_a_state_is_left_later_than_it_is_entered(
    was: StorageState, changes: dict[str, float], state: StorageState
) -> None:
    assert after(was, CALM, **changes).state is state


def test_a_small_storage_is_full_at_one_percent() -> None:
    assert full_limit(100 * MIB) == MIB
    assert full_limit(10 * GIB) == 64 * MIB


def test_stuck_is_what_answers_nothing_for_twenty_seconds() -> None:
    waits = replace(CALM, in_flight=2)
    health = judge(judge(None, waits, 0.0), waits, 10.0)
    assert (health.state, health.silent) == (StorageState.OK, 10.0)
    health = judge(health, waits, 10.0)
    assert health.state is StorageState.STUCK
    assert words("main", health) == "storage main is stuck: 2 requests wait, none was answered for 20 s"
    assert judge(health, replace(waits, answered=1001, waited=1.1), 1.0).state is StorageState.OK


def test_requests_that_only_now_wait_do_not_count_as_long() -> None:
    health = judge(judge(None, CALM, 0.0), replace(CALM, in_flight=2), 60.0)
    assert (health.state, health.silent) == (StorageState.OK, 0.0)


@pytest.mark.parametrize(
    ("health", "text"),
    [
        (after(StorageState.OK, CALM, free=0), "storage main is full: 0 B of 100 GiB are free"),
        (after(StorageState.OK, CALM, free=GIB), "storage main is nearly full: 1 GiB of 100 GiB are free"),
        (judge(None, None, 0.0), "storage main is gone: it is not mounted"),
        (after(StorageState.OK, CALM, present=False), "storage main is gone: its disk is not there any more"),
        (
            after(StorageState.OK, CALM, missing=1, filled=0.5),
            "storage main is degraded: it lies on one disk, and the other one is being filled again",
        ),
        (after(StorageState.OK, CALM, answered=1001, waited=3.5), "storage main is slow: a read or write takes 2.5 s"),
    ],
)
def test_words(health: Health, text: str) -> None:
    assert words("main", health) == text


def test_who_waits_and_who_is_in_the_way() -> None:
    assert waiting_words(()) == ""
    assert waiting_words(["db"]) == "; guest db waits"
    assert waiting_words(["db", "web"]) == "; guests db, web wait"
    assert "guest web still runs on it" in waiting_words(["db"], ["web"])


readings = st.builds(
    Reading,
    size=st.just(GIB),
    free=st.integers(0, GIB),
    read_only=st.booleans(),
    present=st.booleans(),
    answered=st.integers(0, 100),
    waited=st.floats(0, 100),
    in_flight=st.integers(0, 5),
)


@given(st.lists(readings, min_size=1, max_size=20))
def test_no_guest_is_let_go_on_where_it_cannot(found: list[Reading]) -> None:
    health = None
    for reading in found:
        health = judge(health, reading, 10.0)
        if not reading.present or reading.read_only or reading.free < full_limit(reading.size):
            assert health.state not in FIT
        assert words("main", health).startswith("storage main is ")
