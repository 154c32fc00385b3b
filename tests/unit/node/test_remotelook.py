"""A storage on the network is asked, and nobody waits for ever."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flashvisor.host.clock import ticks
from flashvisor.host.volume import Reading
from flashvisor.node.remotelook import RemoteLook

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 10.0  # seconds; a test that needs them has failed
HERE = Reading(size=100, free=50, remote=True)


def test_each_look_is_an_answer() -> None:
    look = RemoteLook(lambda: HERE, patience=LIMIT)
    first, second = look.reading(), look.reading()
    assert first is not None
    assert second is not None
    assert (first.answered, second.answered, second.in_flight, second.free) == (1, 2, 0, 50)
    assert second.waited >= first.waited >= 0


def test_where_nothing_is_mounted_there_is_no_reading() -> None:
    assert RemoteLook(lambda: None, patience=LIMIT).reading() is None


def test_a_server_that_hangs_leaves_one_question_open_and_the_last_answer_stands() -> None:
    hang = threading.Event()
    asked: list[None] = []

    def ask() -> Reading:
        asked.append(None)
        if len(asked) > 1:
            assert hang.wait(LIMIT)
        return HERE

    look = RemoteLook(ask, patience=0.01)
    assert any(look.reading() for _ in ticks(0.01, LIMIT))
    for _ in range(3):
        found = look.reading()
        assert found is not None
        assert (found.answered, found.in_flight, found.free) == (1, 1, 50)
    assert len(asked) == 2
    hang.set()

    def answered() -> bool:
        found = look.reading()
        return found is not None and found.answered > 1

    assert any(answered() for _ in ticks(0.01, LIMIT))


def test_a_server_that_never_answered_has_no_reading() -> None:
    hang = threading.Event()

    def ask() -> Reading | None:
        hang.wait(LIMIT)
        return None

    look = RemoteLook(ask, patience=0.01)
    calls: list[Callable[[], object]] = [look.reading] * 3
    assert [call() for call in calls] == [None] * 3
    hang.set()
