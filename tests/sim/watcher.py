"""Waits for what guests do, as the driver tells it, and for the keeper to have dealt with it.

Example::

    watcher = Watcher(made.driver)
    watcher.wait("web", GuestState.RUNNING)
    settle(made)
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flashvisor.guests.driver import ENDED, GuestEvent
from flashvisor.model.guest import GuestState

if TYPE_CHECKING:
    from flashvisor.guests.fake import FakeDriver
    from sim.nodekit import Server

NOBODY = "nobody-at-all"
LIMIT = 10.0  # seconds; a test that needs them has failed


class Watcher:
    """Counts guests' events as the driver tells them, and waits for one."""

    def __init__(self, driver: FakeDriver) -> None:
        self._seen: list[GuestEvent] = []
        self._news = threading.Condition()
        driver.subscribe(self._hear)

    def _hear(self, event: GuestEvent) -> None:
        with self._news:
            self._seen.append(event)
            self._news.notify_all()

    def wait(self, name: str, state: GuestState, times: int = 1) -> None:
        """Waits until a guest came into a state that often."""

        def often_enough() -> bool:
            return sum((event.name, event.state) == (name, state) for event in self._seen) >= times

        with self._news:
            assert self._news.wait_for(often_enough, LIMIT), self._seen

    def ended(self) -> list[str]:
        """Who has ended, in this order."""
        with self._news:
            return [event.name for event in self._seen if event.state in ENDED]


def settle(made: Server) -> None:
    """Waits until the keeper's worker has dealt with all that was put before, and with what that has led to."""
    roster = made.keeper._roster
    for _ in range(5):
        record = roster.record(NOBODY)
        record.gone.clear()
        made.keeper._events.put(GuestEvent(NOBODY, GuestState.STOPPED, "the last of the news"))
        assert record.gone.wait(LIMIT)
    roster.forget(NOBODY)
