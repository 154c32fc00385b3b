"""Who hears of guests' changes of state, and which states are known. Shared by all drivers, safe for threads.

Example::

    board = Board()
    end = board.subscribe(print)
    board.tell(GuestEvent("hello", GuestState.RUNNING, "runs"))   # printed
    board.tell(GuestEvent("hello", GuestState.RUNNING, "runs"))   # nothing new: not printed
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from flashvisor.guests.driver import ENDED, GuestEvent
from flashvisor.model.guest import GuestState

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class Board:
    """The last known state of each domain, and the listeners. Each change is told once, and in order.

    Listeners are called one at a time under a lock: they must be quick and must not wait for another thread
    (an agent hands the event to its loop with `call_soon_threadsafe`).
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._states: dict[str, GuestState] = {}
        self._listeners: list[Callable[[GuestEvent], None]] = []

    def subscribe(self, listener: Callable[[GuestEvent], None]) -> Callable[[], None]:
        """Adds a listener; returns the function that takes it away, which may be called twice."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    def tell(self, event: GuestEvent) -> None:
        """Passes an event on if it is a change. A listener's error is logged and harms nobody else."""
        with self._lock:
            before = self._states.get(event.name)
            if before == event.state or (before is None and event.state in ENDED):
                return
            if event.state in ENDED:
                del self._states[event.name]
            else:
                self._states[event.name] = event.state
            self.announce(event)

    def announce(self, event: GuestEvent) -> None:
        """Passes on what is no change of state."""
        with self._lock:
            for listener in list(self._listeners):
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener failed on %s", event)

    def compare(self, seen: dict[str, GuestState], reason: str) -> None:
        """Tells what changed unseen, for instance while the hypervisor could not be reached.

        Args:
            seen: All domains that exist now.
            reason: Given with each event.
        """
        with self._lock:
            for name in sorted(set(self._states) - set(seen)):
                self.tell(GuestEvent(name, GuestState.STOPPED, reason))
            for name, state in sorted(seen.items()):
                self.tell(GuestEvent(name, state, reason))
