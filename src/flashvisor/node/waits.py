"""Guests that wait for their disks: a read or write failed, and QEMU paused the guest before it noticed.

Owns who waits, since when, and when it is tried again: after 1, 2, 4, … 60 s, as a guest that crashes. Does not own
whether its storage is fit for it (storagekeeper.py)::

    waits = Waits(driver, on_change=wake)
    waits.waiting()                     # {"db": DiskFault("/var/…/disk.qcow2", full=True)}
    if waits.due("db"):
        waits.resume("db")
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flashvisor.errors import FlashvisorError
from flashvisor.guests.driver import ENDED, DiskFault
from flashvisor.guests.supervise import History, note_end, note_start, start_due
from flashvisor.host.clock import monotonic
from flashvisor.model.guest import GuestState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flashvisor.guests.driver import Driver, GuestEvent

log = logging.getLogger(__name__)


@dataclass
class Wait:
    """A guest that waits, or did a while ago.

    `fault` is None while it runs; `history` counts its waits as supervise.py counts crashes; `busy` while somebody
    resumes it; `stale` if it runs from a mount that is no more, so that no resume can help it.
    """

    fault: DiskFault | None = None
    history: History = field(default_factory=History)
    busy: bool = False
    stale: bool = False


# libvirt answers five calls of one client at a time: guests whose QEMU hangs must never take all of them.
_AT_ONCE = threading.BoundedSemaphore(2)


def in_thread(call: Callable[[], None]) -> None:
    """Runs a call that may take its time without waiting for it; two such calls run at once, the others wait."""

    def run() -> None:
        with _AT_ONCE:
            call()

    threading.Thread(target=run, name="resume", daemon=True).start()


class Waits:
    """Who waits. Any thread may call.

    Args:
        driver: The hypervisor.
        on_change: Called, from the driver's thread, when a guest came to wait or waits no longer.
        now: Seconds of a clock that only grows.
        aside: Runs a call without waiting for it.
    """

    def __init__(
        self,
        driver: Driver,
        on_change: Callable[[], None],
        now: Callable[[], float] = monotonic,
        aside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._driver, self._on_change, self._now, self._aside = driver, on_change, now, aside
        self._lock = threading.Lock()
        self._waits: dict[str, Wait] = {}
        self._unsure = True

    def hear(self, event: GuestEvent) -> None:
        """Takes a driver's event."""
        with self._lock:
            if event.state in ENDED:
                self._waits.pop(event.name, None)
            elif event.state is not GuestState.PAUSED:
                self._waits.setdefault(event.name, Wait()).fault = None
            elif event.fault:
                self._note(event.name, event.fault)
            else:
                # Paused by people, or by a disk while nobody listened.
                self._unsure = True
        self._on_change()

    def settle(self) -> None:
        """Asks the hypervisor who waits, where the events left it open (a restart of the agent or of libvirt)."""
        if not self._unsure:
            return
        self._unsure = False
        try:
            found = self._driver.stalled()
        except FlashvisorError as error:
            self._unsure = True
            log.debug("who waits for a disk is not known: %s", error)
            return
        with self._lock:
            for name in found:
                if self._waits.setdefault(name, Wait()).fault is None:
                    self._note(name, DiskFault())

    def waiting(self) -> dict[str, DiskFault]:
        """Returns the guests that wait, by name, and what they wait for."""
        with self._lock:
            return {name: wait.fault for name, wait in sorted(self._waits.items()) if wait.fault}

    def failures(self, name: str) -> int:
        """Returns how often in a row a guest came to wait."""
        with self._lock:
            return self._waits[name].history.failures if name in self._waits else 0

    def mark_stale(self, names: Iterable[str]) -> None:
        """Notes guests that run from a mount that is no more."""
        with self._lock:
            for name in names:
                self._waits.setdefault(name, Wait()).stale = True

    def is_stale(self, name: str) -> bool:
        """Tells whether a guest can only be helped by a new start."""
        with self._lock:
            return name in self._waits and self._waits[name].stale

    def due(self, name: str) -> bool:
        """Tells whether a waiting guest may be tried again now."""
        with self._lock:
            wait = self._waits.get(name)
            if wait is None or wait.fault is None or wait.busy:
                return False
            due = start_due(wait.history)
            return due is None or self._now() >= due

    def resume(self, name: str) -> None:
        """Lets a waiting guest go on, aside. If its disk fails again, it waits longer."""
        with self._lock:
            wait = self._waits.get(name)
            if wait is None or wait.fault is None or wait.busy:
                return
            wait.busy, wait.history = True, note_start(wait.history, self._now())
        self._aside(lambda: self._resume(name, wait))

    def _resume(self, name: str, wait: Wait) -> None:
        log.info("guest %s may go on: its storage is fit", name)
        try:
            self._driver.resume(name)
        except FlashvisorError as error:
            # It ended, or somebody was quicker, or the hypervisor refused: the events tell, else it is tried again.
            log.warning("guest %s: %s", name, error)
            with self._lock:
                wait.history = note_end(wait.history, self._now())
        finally:
            with self._lock:
                wait.busy = False
            self._on_change()

    def _note(self, name: str, fault: DiskFault) -> None:
        wait = self._waits.setdefault(name, Wait())
        wait.fault, wait.history = fault, note_end(wait.history, self._now())
