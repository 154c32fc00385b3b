"""Watches the storages: says what is wrong with one, lets the guests that wait for it go on, has it brought back.

Owns the watch. Does not own when a storage counts as what (storagehealth.py), who waits (waits.py), how a storage
comes back (storagereturn.py), or guests that run or end (keeper.py).

Example::

    with StorageKeeper(Surroundings(hands, reconciler, driver)) as storages:
        storages.start()
        storages.reports()
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.api.types import StorageReport
from flashvisor.errors import (
    BusyError,
    DiskFaultError,
    FlashvisorError,
    NodeError,
    StorageDegradedError,
    StorageFullError,
    StorageGoneError,
    StorageNearlyFullError,
    StorageReadOnlyError,
    StorageSlowError,
)
from flashvisor.guests.supervise import History, note_end, note_start, start_due
from flashvisor.host.clock import monotonic
from flashvisor.model.storagestate import FIT, StorageState
from flashvisor.node.anew import end_anew, held
from flashvisor.node.guestrecord import PAUSED
from flashvisor.node.plan import Verb
from flashvisor.node.remotelook import RemoteLook
from flashvisor.node.storage import storages_of
from flashvisor.node.storagehealth import Health, judge, waiting_words, words
from flashvisor.node.storagereturn import RETURNING, Lost, bring_back, may_return
from flashvisor.node.waits import Waits, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from flashvisor.guests.driver import DiskFault, Driver
    from flashvisor.host.volume import Reading
    from flashvisor.model.site import Site
    from flashvisor.node.carryout import Hands
    from flashvisor.node.reconcile import Reconciler

log = logging.getLogger(__name__)

# Resumes in a row that did not help, while the guest's network storage is fit: its server forgot the files that QEMU
# has open, and only a new start opens them again.
GIVE_UP = 5
CALM, ALERT = 10.0, 1.0  # seconds between two looks: while all is well, and while something is wrong

PROBLEMS: dict[StorageState, type[NodeError]] = {
    StorageState.GONE: StorageGoneError,
    StorageState.READ_ONLY: StorageReadOnlyError,
    StorageState.STUCK: StorageSlowError,
    StorageState.FULL: StorageFullError,
    StorageState.DEGRADED: StorageDegradedError,
    StorageState.SLOW: StorageSlowError,
    StorageState.NEARLY_FULL: StorageNearlyFullError,
}


@dataclass(frozen=True)
class Surroundings:
    """What storages are kept with.

    Args:
        hands: Machine, keeper, problems, settings.
        reconciler: Whose site is in force.
        driver: The hypervisor.
        now: Seconds of a clock that only grows.
        aside: Runs a call without waiting for it.
    """

    hands: Hands
    reconciler: Reconciler
    driver: Driver
    now: Callable[[], float] = monotonic
    aside: Callable[[Callable[[], None]], None] = in_thread


class StorageKeeper:
    """The storages of the site in force. A context manager; any thread may call."""

    def __init__(self, around: Surroundings) -> None:
        self._hands, self._reconciler, self._driver = around.hands, around.reconciler, around.driver
        self._now = around.now
        self._wake = threading.Event()
        self._waits = Waits(around.driver, self._wake.set, around.now, around.aside)
        self._turn = threading.Lock()
        self._health: dict[str, Health] = {}
        self._remote: dict[str, RemoteLook] = {}
        self._looked: float | None = None
        self._told: dict[str, object] = {}
        self._returns: dict[str, History] = {}
        self._ending = False
        self._thread = threading.Thread(target=self._watch, name="storage", daemon=True)
        self._unsubscribe: Callable[[], None] = lambda: None

    def __enter__(self) -> StorageKeeper:
        """Starts listening to the driver."""
        self._unsubscribe = self._driver.subscribe(self._waits.hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends watching. Guests that wait go on waiting."""
        self._unsubscribe()
        self._ending = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def start(self) -> None:
        """Watches from now on: the storages were mounted, and the guests that run were found again."""
        self._thread.start()

    def reports(self) -> tuple[StorageReport, ...]:
        """Returns the storages of the site in force, as they were seen last."""
        site = self._site()
        return tuple(self._report(site, name) for name in site.storage) if site else ()

    def look(self) -> bool:
        """Looks at everything once, and does what can be done.

        Returns:
            Whether all is well.
        """
        with self._turn:
            site = self._site()
            if site is None or self._reconciler.changing:
                return True
            self._waits.settle()
            self._judge(site)
            waiting = {name: fault for name, fault in self._waits.waiting().items() if name in site.guest}
            for name in site.storage:
                lost = self._lost(site, name, waiting)
                self._tell(name, lost)
                if lost.state in RETURNING and not self._is_being_filled(name):
                    self._try_return(site, name, lost)
            self._forget(site, waiting)
            for name, fault in waiting.items():
                self._serve(site, name, fault)
            return not waiting and all(each.state is StorageState.OK for each in self._health.values())

    def _watch(self) -> None:
        pause = 0.0
        while not self._ending:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                pause = CALM if self.look() else ALERT
            except Exception:
                # A bug met on one storage must not end the watch over the others.
                log.exception("the storages could not be looked at")
                pause = CALM

    def _site(self) -> Site | None:
        now = self._reconciler.now
        return now.desired.site if now else None

    def _report(self, site: Site, name: str) -> StorageReport:
        health = self._health.get(name) or Health(StorageState.UNKNOWN)
        reading = health.reading
        users = [guest for guest in sorted(site.guest) if name in self._storages(site, guest)]
        waiting = self._waits.waiting()
        return StorageReport(
            name=name,
            state=health.state,
            size=reading.size if reading else 0,
            free=reading.free if reading else 0,
            guests=tuple(users),
            waiting=tuple(guest for guest in users if guest in waiting),
        )

    def _storages(self, site: Site, guest: str, path: str = "") -> frozenset[str]:
        places = {name: str(self._hands.settings.storage(name)) for name in site.storage}
        return storages_of(site, guest, places, path)

    def _judge(self, site: Site) -> None:
        now = self._now()
        passed = now - self._looked if self._looked is not None else 0.0
        self._looked = now
        self._health = {
            name: judge(self._health.get(name), self._reading(name, remote=storage.nfs is not None), passed)
            for name, storage in site.storage.items()
        }

    def _reading(self, name: str, *, remote: bool) -> Reading | None:
        def ask() -> Reading | None:
            return self._hands.machine.volume(self._hands.settings.storage(name))

        return self._remote.setdefault(name, RemoteLook(ask)).reading() if remote else ask()

    def _lost(self, site: Site, name: str, waiting: dict[str, DiskFault]) -> Lost:
        state = self._health[name].state
        on_it = {
            guest
            for guest in site.guest
            if name in self._storages(site, guest, waiting[guest].path if guest in waiting else "")
        }
        running: frozenset[str] = frozenset()
        if state in RETURNING and site.storage[name].nfs is None:
            try:
                running = self._hands.keeper.running()
            except FlashvisorError as error:
                log.warning("storage %s: who runs on it is not known: %s", name, error)
                running = frozenset(on_it)
        return Lost(state, tuple(sorted(on_it & waiting.keys())), tuple(sorted(on_it & running - waiting.keys())))

    def _tell(self, name: str, lost: Lost) -> None:
        """Tells a problem once for each state and each set of guests: its figures may change all the time."""
        about, problems = f"storage {name}", self._hands.problems
        if self._told.get(about) == lost:
            return
        self._told[about] = lost
        health = self._health[name]
        if lost.state is StorageState.OK:
            problems.clear(about, words=f"storage {name} is well again")
        elif health.reading or not problems.about(f"{Verb.MOUNT} {name}"):
            text = words(name, health) + waiting_words(lost.waiting, lost.running if lost.hindered else ())
            problems.tell(about, PROBLEMS[lost.state](text))

    def _forget(self, site: Site, waiting: dict[str, DiskFault]) -> None:
        """Takes back what was told of storages that are no longer in the site, and of guests that wait no longer."""
        known = {f"storage {name}" for name in site.storage} | {f"disk of guest {name}" for name in waiting}
        for about in self._told.keys() - known:
            self._hands.problems.clear(about)
            self._told.pop(about)

    def _is_being_filled(self, name: str) -> bool:
        reading = self._health[name].reading
        return reading is not None and reading.filled is not None

    def _try_return(self, site: Site, name: str, lost: Lost) -> None:
        history = self._returns.get(name, History())
        if history.ended is None or history.started is not None:
            history = self._returns[name] = note_end(history, self._now())
        due = start_due(history)
        if (due is not None and self._now() < due) or not may_return(name, site, lost, self._hands):
            return
        try:
            with self._reconciler.standing_still(f"the return of storage {name}"):
                bring_back(name, site, lost, self._hands, self._driver)
        except BusyError:
            return
        except FlashvisorError as error:
            self._hands.problems.tell(f"{Verb.MOUNT} {name}", error)
            self._returns[name] = note_end(history, self._now())
            return
        log.info("storage %s is there again", name)
        self._clear_consequences(site, name)
        if lost.state is StorageState.GONE:
            self._waits.mark_stale(lost.running)
        self._returns[name] = note_start(history, self._now())

    def _clear_consequences(self, site: Site, name: str) -> None:
        """Takes back what was told because the storage was not there. The keeper goes on trying to start its guests."""
        problems = self._hands.problems
        problems.clear(f"{Verb.MOUNT} {name}")
        problems.clear_those(f"site: storage.{name}:")
        for guest in site.guest:
            if name in self._storages(site, guest):
                problems.clear(f"{Verb.START} {guest}")
                problems.clear_those(f"site: guest.{guest}:")

    def _serve(self, site: Site, name: str, fault: DiskFault) -> None:
        """Lets one waiting guest go on, if its storages are fit and it did not fail a moment ago."""
        unfit = [each for each in self._storages(site, name, fault.path) if self._health[each].state not in FIT]
        self._explain(name, fault, unfit)
        if unfit or not self._waits.due(name):
            return
        remote = any(site.storage[each].nfs for each in self._storages(site, name, fault.path))
        if not self._waits.is_stale(name) and not (remote and self._waits.failures(name) > GIVE_UP):
            self._waits.resume(name)
            return
        try:
            with held(self._hands.keeper, [name]):
                end_anew(self._hands.keeper, self._driver, name)
        except FlashvisorError as error:
            log.warning("guest %s: %s", name, error)

    def _explain(self, name: str, fault: DiskFault, unfit: list[str]) -> None:
        record = self._hands.keeper.record(name)
        failed = f"its disk {fault.path or 'on this server'} " + ("found no room" if fault.full else "failed")
        if record.problem.startswith(PAUSED):
            record.problem = PAUSED + (words(unfit[0], self._health[unfit[0]]) if unfit else failed)
        about = f"disk of guest {name}"
        if not unfit and self._waits.failures(name) > 1 and about not in self._told:
            self._told[about] = fault
            self._hands.problems.tell(about, DiskFaultError(f"guest {name} waits: {failed}; it is tried again"))
