"""What a worker has to do next: news as it comes, and names that are due at a time.

Example::

    agenda: Agenda[GuestEvent] = Agenda(monotonic)
    agenda.put(event)
    agenda.at("web", monotonic() + 2.0)
    agenda.take()           # the event; then, 2 s later, "web"
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Agenda(Generic[T]):
    """News in their order, and one time for each name. Any thread may put; one thread takes, and sets times.

    Args:
        now: Returns seconds of a clock that only grows.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._news: queue.SimpleQueue[T | str | None] = queue.SimpleQueue()
        self._due: dict[str, float] = {}

    def put(self, news: T | str | None) -> None:
        """Adds news, or a name that is due now; None ends the work."""
        self._news.put(news)

    def at(self, name: str, due: float) -> None:
        """Has a name come up at a time, in seconds; instead of the time that it had."""
        self._due[name] = due

    def drop(self, name: str) -> None:
        """Takes a name's time back."""
        self._due.pop(name, None)

    def take(self) -> T | str | None:
        """Waits for what comes next."""
        # Looked at as a whole: whoever starts a guest may set a time meanwhile.
        due = dict(self._due)
        if not due:
            return self._news.get()
        name = min(due, key=lambda each: due[each])
        left = due[name] - self._now()
        if left > 0:
            try:
                return self._news.get(timeout=left)
            except queue.Empty:
                pass
        self._due.pop(name, None)
        return name
