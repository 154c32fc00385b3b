"""Keeps the guests: starts and stops them, starts crashed ones again, notes when they answer.

Owns the worker that carries supervise.py's decisions out. Does not own those decisions, what is known of the guests
(roster.py), or which site is in force (reconcile.py).

Example::

    with Keeper(tools, asker) as keeper:
        keeper.use(desired, places_of)
        keeper.start("web", desired)
        keeper.record("web").problem
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import FlashvisorError, GuestFilesError, GuestStateError
from flashvisor.guests.driver import ENDED
from flashvisor.guests.supervise import (
    Action,
    Cause,
    Wish,
    decide,
    forgive,
    next_wish,
    note_start,
    note_stop_asked,
)
from flashvisor.host.clock import boot_seconds, monotonic
from flashvisor.model.guest import GuestState
from flashvisor.model.startorder import stop_order
from flashvisor.node.agenda import Agenda
from flashvisor.node.guestfiles import prepare
from flashvisor.node.guestrecord import PAUSED, STANDS_STILL, Record, Silence
from flashvisor.node.probes import Ways
from flashvisor.node.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from flashvisor.guests.domain import DomainSpec
    from flashvisor.guests.driver import Driver, GuestEvent
    from flashvisor.node.consolehub import ConsoleHub
    from flashvisor.node.guestfiles import Places
    from flashvisor.node.plan import Desired
    from flashvisor.node.probes import Asker
    from flashvisor.node.timeline import Timeline

log = logging.getLogger(__name__)

GRACE = 30.0  # seconds that a guest has to shut itself down before force
NEWS_LIMIT = 10.0  # seconds within which the end of a guest that is gone is told
FORCE_LIMIT = 20.0  # seconds that force may take
KEPT_LIMIT = 5.0  # seconds that the hypervisor has to end a crashed guest that is not to be kept


@dataclass(frozen=True)
class Tools:
    """What the keeper works with. `now` returns seconds of a clock that only grows."""

    driver: Driver
    timeline: Timeline
    hub: ConsoleHub
    now: Callable[[], float] = monotonic


class Keeper:
    """The guests of the site in force. Any thread may call.

    Args:
        tools: What it works with.
        asker: Makes what finds out when a guest answers.
    """

    def __init__(self, tools: Tools, asker: Callable[[Ways], Asker]) -> None:
        self._tools, self._driver = tools, tools.driver
        self._asker = asker(Ways(self._heard, tools.hub.attach, tools.driver.ask_agent))
        self._roster = Roster(tools.driver)
        self._places: Callable[[str], Places] | None = None
        self._events: Agenda[GuestEvent | Silence] = Agenda(tools.now)
        self._began: float | None = None
        self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
        self._unsubscribe: Callable[[], None] = lambda: None

    def __enter__(self) -> Keeper:
        """Starts listening to the driver."""
        self._asker.__enter__()
        self._unsubscribe = self._driver.subscribe(self._events.put)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends listening. Guests run on."""
        self._unsubscribe()
        self._events.put(None)
        self._thread.join()
        self._asker.__exit__(kind, error, trace)

    def use(self, desired: Desired | None, places: Callable[[str], Places]) -> None:
        """Notes which site is in force, and how to find where a guest's files are.

        A guest that runs on, and is to be asked something else than before, is asked that from now on.
        """
        self._places = places
        for record in self._roster.use(desired):
            self._asker.forget(record.name)
            record.answered, record.silent = None, ""
            self._probe(record)

    def running(self) -> frozenset[str]:
        """Returns the guests that exist for the hypervisor, in whatever state.

        Raises:
            HypervisorError: it cannot be reached.
        """
        return frozenset(self._driver.domains())

    def silent(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns which of these guests a trial still waits for; as `Roster.silent`."""
        return self._roster.silent(names)

    def record(self, name: str) -> Record:
        """Returns what is known of a guest of the site; raises as `Roster.need`."""
        return self._roster.need(name)

    def find_again(self) -> None:
        """Takes up the guests that run already: the agent was restarted, they were not."""
        timeline = self._tools.timeline
        for name, state in self._driver.domains().items():
            record = self._roster.record(name)
            record.wish = Wish.KEEP if state is GuestState.KEPT else Wish.RUN
            record.problem = STANDS_STILL.get(state, "")
            record.gone.clear()
            record.crashed = state is GuestState.KEPT
            record.changed = self._tools.now()
            record.history = note_start(record.history, self._tools.now())
            record.started = timeline.when(f"guest-{name}-started")
            record.answered = timeline.when(f"guest-{name}-answered")
            self._tools.hub.watch(name, self._driver.console_socket(name))
            if state not in STANDS_STILL:
                self._probe(record)

    def start(self, name: str, desired: Desired, *, by_hand: bool = False) -> None:
        """Starts a guest, and from now on keeps it running. By hand at once; else when its turn comes, if not now.

        Raises:
            GuestStateError: it runs already.
            FlashvisorError: it could not be started; it will be tried again.
        """
        record = self._roster.record(name)
        with record.busy:
            state = self._driver.domains().get(name)
            if state is GuestState.KEPT:
                self._driver.stop(name, force=True)
            if state in (None, GuestState.KEPT):
                record.gone.wait(NEWS_LIMIT)
            record.wish = next_wish(record.wish, Cause.STARTED_BY_HAND if by_hand else Cause.SITE)
            record.told = False
            record.queue(waits=not by_hand and state in (None, GuestState.KEPT))
            if by_hand:
                record.history = forgive(record.history)
            elif self._began is None:
                self._began = self._tools.now()
            try:
                if state not in (None, GuestState.KEPT):
                    # Its files are in use: no tool would take them, and that is no fault of the guest.
                    raise GuestStateError(f"guest {name} is already {state}")
                self._start_in_turn(record, desired)
            finally:
                self._events.put(name)

    def stop(self, name: str) -> None:
        """Stops a guest and waits until it has ended; one that has is fine. By force if it does not obey.

        Raises:
            HypervisorError: the hypervisor refused.
            GuestStateError: not even force ended it.
        """
        record = self._roster.record(name)
        with record.busy:
            record.wish = next_wish(record.wish, Cause.STOPPED_BY_HAND)
            record.queue(waits=False)
            state = self._driver.domains().get(name)
            if state is not None:
                self._tell(record, GRACE, force=state is GuestState.KEPT)
                if not record.gone.wait(GRACE) and name in self.running():
                    self._driver.stop(name, force=True)
                    self._wait_gone(record)
        if self._roster.guest(name) is None:
            self._roster.forget(name)

    def ask_to_stop(self, name: str, *, force: bool, grace: float) -> None:
        """Stops a guest by hand: returns when it was told. The worker uses force after `grace` seconds.

        Raises:
            GuestStateError: it does not run, and was not going to.
            HypervisorError: the hypervisor refused.
        """
        record = self._roster.record(name)
        with record.busy:
            state = self._driver.domains().get(name)
            waits = record.wish in (Wish.RUN, Wish.RENEW) and state is None
            record.wish, record.problem, record.told = next_wish(record.wish, Cause.STOPPED_BY_HAND), "", True
            record.queue(waits=False)
            if not waits:
                self._tell(record, grace, force=force or state is GuestState.KEPT)
        self._events.put(name)
        self.look_at_queue()

    def look_again(self, name: str) -> None:
        """Decides about a guest anew: whoever had it in hand is done."""
        self._events.put(name)

    def stop_all(self, grace: float = GRACE) -> None:
        """Stops all guests before the server goes down, those first that wait for others at its start.

        Those that do not obey within `grace` seconds are stopped by force.

        Raises:
            GuestStateError: not even force ended one of them.
        """
        running, desired = self.running(), self._roster.desired
        stuck: list[GuestStateError] = []
        self._roster.call_off(running)
        for names in stop_order(desired.site if desired else None, running):
            for name in names:
                try:
                    self.ask_to_stop(name, force=False, grace=grace)
                except FlashvisorError as error:
                    log.warning("guest %s: %s", name, error)
            # One that cannot be ended must not keep the others from being asked.
            for name in names:
                try:
                    self._wait_gone(self._roster.record(name), grace)
                except GuestStateError as error:
                    stuck.append(error)
        if stuck:
            raise stuck[0]

    def look_at_queue(self) -> None:
        """Has the worker look at all who wait for their turn: something has changed that they may have waited for."""
        for name in self._roster.queued():
            self._events.put(name)

    def _start_in_turn(self, record: Record, desired: Desired) -> None:
        """Starts a guest, unless it has to wait for its turn: the worker then looks at it again."""
        if record.queued:
            found, now = self._roster.gate(record.name, self._began or 0.0), self._tools.now()
            record.waits = found.waits
            if found.waits:
                return
            if found.due > now:
                record.waits = "for its delay"
                self._events.at(record.name, found.due)
                return
        self._start(record, desired)

    def _prepared(self, desired: Desired, name: str) -> DomainSpec:
        if self._places is None:
            raise RuntimeError("no site is in force: `use` comes first")
        try:
            return prepare(desired, name, self._places(name))
        except OSError as error:
            # Its storage is full, read-only or gone.
            raise GuestFilesError(f"the files of guest {name} are out of reach: {error.strerror}") from error

    def _start(self, record: Record, desired: Desired) -> None:
        name, timeline = record.name, self._tools.timeline
        try:
            spec = self._prepared(desired, name)
            record.gone.clear()
            self._driver.start(spec)
        except GuestStateError:
            raise
        except FlashvisorError as error:
            record.refuse(error, self._tools.now(), boot_seconds())
            self.look_at_queue()
            raise
        record.begin(self._tools.now(), boot_seconds())
        timeline.reach(f"guest-{name}-started", record.started)
        self._tools.hub.watch(name, Path(spec.console_socket))
        self._probe(record)
        self.look_at_queue()

    def _tell(self, record: Record, grace: float, *, force: bool) -> None:
        self._driver.stop(record.name, force=force)
        if not force:
            record.history = note_stop_asked(record.history, self._tools.now(), grace)

    def _wait_gone(self, record: Record, limit: float = 0.0) -> None:
        if not record.gone.wait(limit + FORCE_LIMIT) and record.name in self.running():
            raise GuestStateError(f"guest {record.name} did not end within {limit + FORCE_LIMIT:.0f} s, even by force")

    def _probe(self, record: Record) -> None:
        question = self._roster.question(record.name)
        if question and (question.lasting or record.answered is None):
            self._asker.watch(record.name, question)

    def _heard(self, name: str, trouble: str) -> None:
        """Called by the asker: a guest answers, or does not."""
        record = self._roster.record(name)
        if record.started is None:
            return  # it has ended meanwhile
        record.hear(trouble, self._tools.now(), boot_seconds())
        if trouble:
            log.warning("guest %s does not answer: %s", name, trouble)
            self._events.put(Silence(name))
        else:
            self._tools.timeline.reach(f"guest-{name}-answered", record.answered)
        self.look_at_queue()

    def _work(self) -> None:
        """The worker: each event of a guest, and each decision that is due."""
        while True:
            event = self._events.take()
            if event is None:
                return
            try:
                self._handle(event)
            except Exception:
                # One guest's bug must not end the supervision of the others.
                log.exception("the keeper failed on %s", event)

    def _handle(self, event: GuestEvent | Silence | str) -> None:
        if isinstance(event, str):
            self._decide(self._roster.record(event))
            return
        record = self._roster.record(event.name)
        if isinstance(event, Silence):
            if record.renew(self._roster.guest(event.name), self._tools.now()):
                self._decide(record)
            return
        log.info("guest %s is %s: %s", event.name, event.state, event.reason)
        if event.watchdog:
            record.bite(event, boot_seconds())
            self._probe(record)
        elif event.state in ENDED:
            self._ended(record, event)
        elif event.state is GuestState.KEPT:
            self._kept(record, event)
        elif event.state is GuestState.PAUSED:
            self._asker.forget(record.name)  # who stands still cannot answer
            record.problem = f"{PAUSED}{event.reason}"
        elif event.state is GuestState.RUNNING and record.problem.startswith(PAUSED):
            record.problem = ""
            self._probe(record)
            self._decide(record)

    def _kept(self, record: Record, event: GuestEvent) -> None:
        self._asker.forget(record.name)
        if not record.keep(event, self._roster.guest(record.name), self._tools.now(), boot_seconds()):
            self._events.at(record.name, self._tools.now() + KEPT_LIMIT)
        self.look_at_queue()

    def _ended(self, record: Record, event: GuestEvent) -> None:
        self._asker.forget(record.name)
        record.end(event, self._roster.guest(record.name), self._tools.now(), boot_seconds())
        record.gone.set()
        self._decide(record)
        self.look_at_queue()

    def _decide(self, record: Record) -> None:
        """Does what supervise.py says. A guest that somebody works on is left to them: they ask again at their end."""
        if not record.busy.acquire(blocking=False):
            return
        try:
            observed = self._driver.domains().get(record.name)
            if record.is_ahead(observed):
                return  # its end or its crash is about to be told, and is decided upon then
            decision = decide(record.wish, observed, record.history, self._tools.now())
            self._events.drop(record.name)
            if decision.action is Action.WAIT and decision.due is not None:
                self._events.at(record.name, decision.due)
            elif decision.action is not Action.NOTHING:
                self._do(record, decision.action)
        except FlashvisorError as error:
            log.warning("guest %s: %s", record.name, error)
            self._events.at(record.name, self._tools.now() + 1.0)
        finally:
            record.busy.release()

    def _do(self, record: Record, action: Action) -> None:
        if action is Action.FORCE_STOP:
            self._tell(record, GRACE, force=True)
        elif action is Action.PRESS_BUTTON:
            self._tell(record, GRACE, force=False)
            self._events.put(record.name)
        elif self._roster.desired and self._roster.guest(record.name):
            again = not record.queued
            self._start_in_turn(record, self._roster.desired)
            if again:
                record.restarts += 1
