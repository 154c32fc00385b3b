"""A worker's next task: news in their order, names at their time."""

from __future__ import annotations

import threading

from flashvisor.host.clock import monotonic
from flashvisor.node.agenda import Agenda

LIMIT = 10.0  # seconds; a test that needs them has failed


def test_news_come_in_their_order() -> None:
    agenda: Agenda[int] = Agenda(lambda: 0.0)
    for news in (1, 2, "web", None):
        agenda.put(news)
    assert [agenda.take() for _ in range(4)] == [1, 2, "web", None]


def test_what_is_due_comes_before_news_and_earliest_first() -> None:
    agenda: Agenda[int] = Agenda(lambda: 10.0)
    agenda.put(1)
    agenda.at("late", 9.0)
    agenda.at("early", 3.0)
    assert [agenda.take() for _ in range(3)] == ["early", "late", 1]


def test_news_come_while_a_name_is_not_due() -> None:
    agenda: Agenda[int] = Agenda(lambda: 0.0)
    agenda.at("web", 1000.0)
    agenda.put(1)
    assert agenda.take() == 1


def test_a_name_has_one_time() -> None:
    agenda: Agenda[int] = Agenda(lambda: 10.0)
    agenda.at("web", 3.0)
    agenda.at("web", 1000.0)
    agenda.at("db", 5.0)
    agenda.put(1)
    assert [agenda.take(), agenda.take()] == ["db", 1]
    agenda.drop("web")
    agenda.drop("web")
    agenda.put(2)
    assert agenda.take() == 2


def test_a_name_comes_when_its_time_has_come() -> None:
    agenda: Agenda[int] = Agenda(monotonic)
    start = monotonic()
    agenda.at("web", start + 0.05)
    assert agenda.take() == "web"
    assert monotonic() - start >= 0.05


def test_whoever_waits_is_woken_by_news() -> None:
    agenda: Agenda[int] = Agenda(monotonic)
    taken: list[int | str | None] = []
    thread = threading.Thread(target=lambda: taken.append(agenda.take()))
    thread.start()
    agenda.put(7)
    thread.join(LIMIT)
    assert taken == [7]
