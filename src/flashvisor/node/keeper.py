"""Keeps the guests: starts and stops them, starts crashed ones again, notes when they answer.

Owns the guests' records and the worker that carries supervise.py's decisions out. Does not own those decisions, or
which site is in force (reconcile.py).

Example::

    with Keeper(tools, asker) as keeper:
        keeper.use(desired, places_of)
        keeper.start("web", desired)
        keeper.reports()
"""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import FlashvisorError, GuestFilesError, GuestStateError, HypervisorError, UnknownGuestError
from flashvisor.guests.driver import ENDED
from flashvisor.guests.supervise import (
    Action,
    Cause,
    History,
    Wish,
    decide,
    end_cause,
    next_wish,
    note_end,
    note_start,
    note_stop_asked,
)
from flashvisor.host.clock import boot_seconds, monotonic
from flashvisor.model.guest import GuestState
from flashvisor.node.guestfiles import prepare
from flashvisor.node.probes import target_of

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

PAUSED, CRASHED = "paused: ", "crashed: "  # begin a record's problem
GRACE = 30.0  # seconds that a guest has to shut itself down before force
NEWS_LIMIT = 10.0  # seconds within which the end of a guest that is gone is told
FORCE_LIMIT = 20.0  # seconds that force may take


def _is_set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class Record:
    """What is known of a guest. `started` and `answered` in seconds since the kernel started.

    `gone` is cleared by a start and set once the end was told and noted: between a guest's end and the news of it,
    the hypervisor knows more than this record, and nothing is decided. `told` is that people wanted it to stop, `anew`
    that its end is wanted only for a new start.
    """

    name: str
    wish: Wish = Wish.REST
    history: History = field(default_factory=History)
    started: float | None = None
    answered: float | None = None
    restarts: int = 0
    problem: str = ""
    told: bool = False
    anew: bool = False
    busy: threading.RLock = field(default_factory=threading.RLock)
    gone: threading.Event = field(default_factory=_is_set)


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
        asker: Makes what finds out when a guest answers, given the function to tell it to.
    """

    def __init__(self, tools: Tools, asker: Callable[[Callable[[str], None]], Asker]) -> None:
        self._tools, self._driver = tools, tools.driver
        self._asker = asker(self._answered)
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._due: dict[str, float] = {}
        self._desired: Desired | None = None
        self._places: Callable[[str], Places] | None = None
        self._events: queue.SimpleQueue[GuestEvent | str | None] = queue.SimpleQueue()
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
        """Notes which site is in force, and how to find where a guest's files are."""
        self._desired, self._places = desired, places

    def running(self) -> frozenset[str]:
        """Returns the guests that exist for the hypervisor, in whatever state.

        Raises:
            HypervisorError: it cannot be reached.
        """
        return frozenset(self._driver.domains())

    def silent(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns in plain words which of these guests of the site do not run, or do not answer where they can.

        Of those that do not run, only those count that nobody wants to be down: a start leaves alone what has no
        `autostart`, and people may stop a guest at any time.
        """
        site = self._desired.site if self._desired else None
        try:
            running = self.running()
        except HypervisorError as error:
            return (error.what,)
        words = []
        for name in names:
            if site is None or name not in site.guest:
                continue
            if name not in running:
                if site.guest[name].autostart and not self._record(name).told:
                    words.append(f"guest {name} does not run")
            elif target_of(site, name) and self._record(name).answered is None:
                words.append(f"guest {name} does not answer")
        return tuple(words)

    def find_again(self) -> None:
        """Takes up the guests that run already: the agent was restarted, they were not."""
        timeline = self._tools.timeline
        for name in self._driver.domains():
            record = self._record(name)
            record.wish = Wish.RUN
            record.gone.clear()
            record.history = note_start(record.history, self._tools.now())
            record.started = timeline.when(f"guest-{name}-started")
            record.answered = timeline.when(f"guest-{name}-answered")
            self._tools.hub.watch(name, self._driver.console_socket(name))
            self._probe(record)

    def record(self, name: str) -> Record:
        """Returns what is known of a guest of the site.

        Raises:
            UnknownGuestError: the site has no such guest.
        """
        site = self._desired.site if self._desired else None
        if site is None or name not in site.guest:
            known = ", ".join(sorted(site.guest)) if site else ""
            raise UnknownGuestError(f"no guest '{name}' is in the server's site", evidence=known)
        return self._record(name)

    def start(self, name: str, desired: Desired, *, by_hand: bool = False) -> None:
        """Starts a guest, and from now on keeps it running.

        Raises:
            GuestStateError: it runs already.
            FlashvisorError: it could not be started; it will be tried again.
        """
        record = self._record(name)
        with record.busy:
            if name not in self.running():
                record.gone.wait(NEWS_LIMIT)
            record.wish = next_wish(record.wish, Cause.STARTED_BY_HAND if by_hand else Cause.SITE)
            record.told = False
            try:
                self._start(record, desired)
            finally:
                self._events.put(name)

    def stop(self, name: str) -> None:
        """Stops a guest and waits until it has ended; one that has is fine. By force if it does not obey.

        Raises:
            HypervisorError: the hypervisor refused.
            GuestStateError: not even force ended it.
        """
        record = self._record(name)
        with record.busy:
            record.wish = next_wish(record.wish, Cause.STOPPED_BY_HAND)
            if name in self.running():
                self._press(record, GRACE)
                if not record.gone.wait(GRACE) and name in self.running():
                    self._driver.stop(name, force=True)
                    self._wait_gone(record)
        if not self._desired or name not in self._desired.site.guest:
            with self._lock:
                self._records.pop(name, None)

    def ask_to_stop(self, name: str, *, force: bool, grace: float) -> None:
        """Stops a guest by hand: returns when it was told. The worker uses force after `grace` seconds.

        Raises:
            GuestStateError: it does not run, and was not going to.
            HypervisorError: the hypervisor refused.
        """
        record = self._record(name)
        with record.busy:
            waits = record.wish is Wish.RUN and name not in self.running()
            record.wish, record.problem, record.told = next_wish(record.wish, Cause.STOPPED_BY_HAND), "", True
            if force and not waits:
                self._driver.stop(name, force=True)
            elif not waits:
                self._press(record, grace)
        self._events.put(name)

    def look_again(self, name: str) -> None:
        """Decides about a guest anew: whoever had it in hand is done."""
        self._events.put(name)

    def stop_all(self, grace: float = GRACE) -> None:
        """Stops all guests before the server goes down; those that do not obey within `grace` seconds, by force."""
        names = sorted(self.running())
        for name in names:
            try:
                self.ask_to_stop(name, force=False, grace=grace)
            except FlashvisorError as error:
                log.warning("guest %s: %s", name, error)
        for name in names:
            self._wait_gone(self._record(name), grace)

    def _record(self, name: str) -> Record:
        with self._lock:
            return self._records.setdefault(name, Record(name))

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
            record.gone.set()
            record.problem = f"{error.code}: {error.what}"
            record.history = note_end(record.history, self._tools.now())
            raise
        record.history = note_start(record.history, self._tools.now())
        record.started, record.answered = boot_seconds(), None
        timeline.reach(f"guest-{name}-started", record.started)
        self._tools.hub.watch(name, Path(spec.console_socket))
        self._probe(record)

    def _press(self, record: Record, grace: float) -> None:
        self._driver.stop(record.name, force=False)
        record.history = note_stop_asked(record.history, self._tools.now(), grace)

    def _wait_gone(self, record: Record, limit: float = 0.0) -> None:
        if not record.gone.wait(limit + FORCE_LIMIT) and record.name in self.running():
            raise GuestStateError(f"guest {record.name} did not end within {limit + FORCE_LIMIT:.0f} s, even by force")

    def _probe(self, record: Record) -> None:
        site = self._desired.site if self._desired else None
        target = target_of(site, record.name) if site and record.name in site.guest else None
        if target and record.answered is None:
            self._asker.watch(record.name, target)

    def _answered(self, name: str) -> None:
        record = self._record(name)
        record.answered, record.problem = boot_seconds(), ""
        self._tools.timeline.reach(f"guest-{name}-answered", record.answered)

    def _work(self) -> None:
        """The worker: each event of a guest, and each decision that is due."""
        while True:
            event = self._next_event()
            if event is None:
                return
            try:
                self._handle(event)
            except Exception:
                # One guest's bug must not end the supervision of the others.
                log.exception("the keeper failed on %s", event)

    def _next_event(self) -> GuestEvent | str | None:
        """Waits for an event; a guest's name when its decision is due; None at the end."""
        if not self._due:
            return self._events.get()
        name = min(self._due, key=lambda each: self._due[each])
        left = self._due[name] - self._tools.now()
        if left > 0:
            try:
                return self._events.get(timeout=left)
            except queue.Empty:
                pass
        self._due.pop(name)
        return name

    def _handle(self, event: GuestEvent | str) -> None:
        if isinstance(event, str):
            self._decide(self._record(event))
            return
        record = self._record(event.name)
        log.info("guest %s is %s: %s", event.name, event.state, event.reason)
        if event.state in ENDED:
            self._ended(record, event)
        elif event.state is GuestState.PAUSED:
            record.problem = f"{PAUSED}{event.reason}"
        elif event.state is GuestState.RUNNING and record.problem.startswith(PAUSED):
            record.problem = ""

    def _ended(self, record: Record, event: GuestEvent) -> None:
        self._asker.forget(record.name)
        anew, record.anew = record.anew, False
        asked = anew or record.wish is Wish.REST
        clean = asked or event.state is GuestState.STOPPED
        record.history = note_end(record.history, self._tools.now(), clean=clean)
        record.started = record.answered = None
        if not asked:
            guest = self._desired.site.guest.get(record.name) if self._desired else None
            record.problem = "" if clean else f"{CRASHED}{event.reason}"
            if guest:
                record.wish = next_wish(record.wish, end_cause(event.state, guest.on_crash))
        record.gone.set()
        self._decide(record)

    def _decide(self, record: Record) -> None:
        """Does what supervise.py says. A guest that somebody works on is left to them: they ask again at their end."""
        if not record.busy.acquire(blocking=False):
            return
        try:
            observed = self._driver.domains().get(record.name)
            if observed is None and not record.gone.is_set():
                return  # its end is about to be told, and is decided upon then
            decision = decide(record.wish, observed, record.history, self._tools.now())
            self._due.pop(record.name, None)
            if decision.action is Action.WAIT and decision.due is not None:
                self._due[record.name] = decision.due
            elif decision.action is not Action.NOTHING:
                self._do(record, decision.action)
        except FlashvisorError as error:
            log.warning("guest %s: %s", record.name, error)
            self._due[record.name] = self._tools.now() + 1.0
        finally:
            record.busy.release()

    def _do(self, record: Record, action: Action) -> None:
        if action is Action.START:
            if self._desired and record.name in self._desired.site.guest:
                self._start(record, self._desired)
                record.restarts += 1
        elif action is Action.PRESS_BUTTON:
            self._press(record, GRACE)
        elif action is Action.FORCE_STOP:
            self._driver.stop(record.name, force=True)
