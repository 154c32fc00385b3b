"""The guests of the site in force, and what is known of each. Asks the hypervisor for their states; changes nothing.

Owns the records, and what is concluded from all of them together. Does not own what changes them (keeper.py).

Example::

    roster = Roster(driver)
    roster.use(desired)
    roster.silent(["web"])      # ("guest web does not answer",)
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flashvisor.errors import HypervisorError, UnknownGuestError
from flashvisor.guests.supervise import Cause, next_wish
from flashvisor.guests.turns import Gate, gate
from flashvisor.model.guest import GuestState
from flashvisor.node.guestrecord import Record
from flashvisor.node.questions import Question, questions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from flashvisor.guests.driver import Driver
    from flashvisor.model.site import Guest
    from flashvisor.node.plan import Desired


class Roster:
    """All guests. Any thread may call."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._questions: dict[str, Question] = {}
        self.desired: Desired | None = None

    def use(self, desired: Desired | None) -> tuple[Record, ...]:
        """Notes which site is in force. Returns the guests that run and are to be asked something else than before.

        A guest that waits to be started, and that this site does not start, waits no more.
        """
        before, self._questions = self._questions, questions(desired.site) if desired else {}
        self.desired = desired
        for record in self.all():
            guest = self.guest(record.name)
            if record.started is None and (guest is None or (record.queued and not guest.autostart)):
                record.wish = next_wish(record.wish, Cause.STOPPED_BY_HAND)
                record.queue(waits=False)
        running = (record for record in self.all() if record.started is not None)
        return tuple(record for record in running if before.get(record.name) != self._questions.get(record.name))

    def record(self, name: str) -> Record:
        """Returns what is known of a guest, whoever knows it."""
        with self._lock:
            return self._records.setdefault(name, Record(name))

    def need(self, name: str) -> Record:
        """Returns what is known of a guest of the site.

        Raises:
            UnknownGuestError: the site has no such guest.
        """
        if self.guest(name) is None:
            known = ", ".join(sorted(self.desired.site.guest)) if self.desired else ""
            raise UnknownGuestError(f"no guest '{name}' is in the server's site", evidence=known)
        return self.record(name)

    def forget(self, name: str) -> None:
        """Forgets a guest that has left the site."""
        with self._lock:
            self._records.pop(name, None)

    def all(self) -> tuple[Record, ...]:
        """Returns all that is known."""
        with self._lock:
            return tuple(self._records.values())

    def guest(self, name: str) -> Guest | None:
        """Returns what the site says of a guest."""
        return self.desired.site.guest.get(name) if self.desired else None

    def question(self, name: str) -> Question | None:
        """Returns what a guest is asked, if anything."""
        return self._questions.get(name)

    def silent(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns in plain words which of these guests of the site do not run, or do not answer where they can.

        Of those that do not run, only those count that nobody wants to be down: a start leaves alone what has no
        `autostart`, and people may stop a guest at any time.
        """
        try:
            states = self._driver.domains()
        except HypervisorError as error:
            return (error.what,)
        words = ((name, self._trouble(name, states)) for name in names)
        return tuple(f"guest {name} {trouble}" for name, trouble in words if trouble)

    def gate(self, name: str, began: float) -> Gate:
        """Returns what a guest of the site waits for before it starts (guests/turns.py)."""
        if self.desired is None:
            return Gate()
        states = self._driver.domains()
        seen = {
            record.name: record.seen(states.get(record.name), asked=record.name in self._questions)
            for record in self.all()
        }
        return gate(self.desired.site, name, seen, began)

    def call_off(self, running: Collection[str]) -> None:
        """Has all who do not run stay down."""
        for record in self.all():
            if record.name not in running:
                record.wish = next_wish(record.wish, Cause.STOPPED_BY_HAND)
                record.queue(waits=False)

    def queued(self) -> tuple[str, ...]:
        """Returns the guests that wait for their turn."""
        return tuple(record.name for record in self.all() if record.queued)

    def _trouble(self, name: str, states: Mapping[str, GuestState]) -> str:
        guest, record, state = self.guest(name), self.record(name), states.get(name)
        if guest is None:
            return ""
        if state is None:
            wanted = guest.autostart and not record.told
            return (f"waits {record.waits}" if record.waits else "does not run") if wanted else ""
        if state is GuestState.KEPT:
            return "crashed, and is kept as it was"
        return "does not answer" if name in self._questions and record.answered is None else ""
