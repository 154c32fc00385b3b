"""What the agent knows of one guest, from the agent's start to its end. node/keeper.py keeps the records.

Owns what an event changes in what is known. Does nothing about it (keeper.py).

Example::

    record = Record("web")
    with record.busy:          # nobody else works on this guest meanwhile
        record.gone.wait(10)
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flashvisor.errors import GuestSilentError, RestartsSpentError
from flashvisor.guests.supervise import (
    Cause,
    History,
    Wish,
    end_cause,
    is_spent,
    next_wish,
    note_end,
    note_fault,
    note_start,
)
from flashvisor.guests.turns import Seen, Standing
from flashvisor.model.duration import parse_duration, show_duration
from flashvisor.model.guest import GuestState
from flashvisor.model.site import OnCrash, OnFail

if TYPE_CHECKING:
    from flashvisor.errors import FlashvisorError
    from flashvisor.guests.driver import GuestEvent
    from flashvisor.model.site import Guest, Restarts

PAUSED, CRASHED, KEPT = "paused: ", "crashed: ", "kept: "  # begin a record's problem
# Problems of guests that are found again.
STANDS_STILL = {
    GuestState.PAUSED: f"{PAUSED}since before the agent started",
    GuestState.KEPT: f"{KEPT}since before the agent started",
}


@dataclass(frozen=True)
class Silence:
    """News: a guest does not answer any more."""

    name: str


def _is_set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class Record:
    """What is known of a guest. `started`, `answered` and `failed` in seconds since the kernel started.

    `gone` is cleared by a start and set once the end was told and noted: between a guest's end and the news of it,
    the hypervisor knows more than this record, and nothing is decided. `told` is that people wanted it to stop, `anew`
    that its end is wanted only for a new start.

    `queued` is that its turn to start has not come; `waits` says what it waits for. `answered` is since when it
    answers, `silent` why it does not although it should by now. `failure` is the last thing that went wrong with it.
    `crashed` is that its kernel's panic was told, `doomed` what it is about to end by, though no event of its end will
    say so. `changed` is when what others wait for changed last, in seconds of the keeper's clock.
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
    queued: bool = False
    waits: str = ""
    silent: str = ""
    failure: str = ""
    failed: float | None = None
    watchdogs: int = 0
    doomed: str = ""
    crashed: bool = False
    changed: float = 0.0
    busy: threading.RLock = field(default_factory=threading.RLock)
    gone: threading.Event = field(default_factory=_is_set)

    def is_ahead(self, state: GuestState | None) -> bool:
        """Returns whether the hypervisor knows more than this record: what happened is about to be told."""
        return (state is None and not self.gone.is_set()) or (state is GuestState.KEPT and not self.crashed)

    def fail(self, words: str, when: float) -> None:
        """Something went wrong with it, at a time in seconds since the kernel started."""
        self.failure, self.failed = words, when

    def queue(self, *, waits: bool) -> None:
        """It has to wait for its turn, or does not any more."""
        self.queued, self.waits = waits, ""

    def begin(self, now: float, when: float) -> None:
        """It has been started; `end` has the arguments."""
        self.queue(waits=False)
        self.crashed, self.changed, self.history = False, now, note_start(self.history, now)
        self.started, self.answered = when, None

    def refuse(self, error: FlashvisorError, now: float, when: float) -> None:
        """It could not be started; `end` has the other arguments."""
        self.gone.set()
        self.queue(waits=False)
        self.problem = f"{error.code}: {error.what}"
        self.fail(f"it could not be started: {error.what}", when)
        self.history = note_end(self.history, now)

    def end(self, event: GuestEvent, guest: Guest | None, now: float, when: float) -> None:
        """It has ended: what is wanted of it from now on follows from how.

        Args:
            event: How it ended.
            guest: What the site says of it; None if it says nothing any more.
            now: Seconds of the keeper's clock.
            when: Seconds since the kernel started.
        """
        asked, renewed = self.anew or self.wish is Wish.REST, self.wish is Wish.RENEW
        self.anew = False
        crashed = event.state is GuestState.CRASHED or bool(self.doomed)
        reason, self.doomed = self.doomed or event.reason, ""
        self.history = note_end(self.history, now, clean=asked or not (crashed or renewed))
        self.started = self.answered = None
        self.silent, self.changed = "", now
        if asked:
            self.problem = "" if self.problem.startswith(KEPT) else self.problem
            return
        if crashed:
            self.fail(reason, when)
        self.problem = f"{CRASHED}{reason}" if crashed else ""
        if guest:
            cause = end_cause(GuestState.CRASHED if crashed else GuestState.STOPPED, guest.on_crash)
            if cause is Cause.CRASHED_RESTART and not self._may_go_on(guest.restarts, now):
                cause = Cause.CRASHED_STOP
            self.wish = next_wish(self.wish, cause)

    def keep(self, event: GuestEvent, guest: Guest | None, now: float, when: float) -> bool:
        """Its kernel panicked, and its memory is there yet. Returns whether it is to stay so. Arguments as of `end`."""
        self.crashed = True
        if guest is None or guest.on_crash is not OnCrash.KEEP or self.wish is Wish.REST:
            self.doomed = event.reason
            return False
        self.fail(event.reason, when)
        self.problem = f"{KEPT}{event.reason}"
        self.wish = next_wish(self.wish, Cause.CRASHED_KEEP)
        self.answered, self.silent, self.changed = None, "", now
        return True

    def hear(self, trouble: str, now: float, when: float) -> None:
        """It answers, if there is no trouble; else it does not."""
        self.changed = now
        if trouble:
            self.answered, self.silent = None, trouble
            self.fail(f"it did not answer: {trouble}", when)
            self.problem = f"{GuestSilentError.code}: guest {self.name} does not answer: {trouble}"
        else:
            self.answered = when if self.answered is None else self.answered
            self.problem = self.silent = ""

    def renew(self, guest: Guest | None, now: float) -> bool:
        """It does not answer. Returns whether it is to be started anew, as the site says."""
        if not (self.silent and guest and guest.probe and guest.probe.on_fail is OnFail.RESTART):
            return False
        if self.wish is not Wish.RUN or not self._may_go_on(guest.restarts, now):
            return False
        self.wish = next_wish(self.wish, Cause.SILENT)
        return True

    def bite(self, event: GuestEvent, when: float) -> None:
        """Its watchdog ran out."""
        self.watchdogs += 1
        self.fail(event.reason, when)
        if event.state in (GuestState.STOPPED, GuestState.STOPPING):
            self.doomed = event.reason  # not the guest's own wish: its end is a crash
        elif event.state is GuestState.RUNNING:
            self.answered, self.silent = None, ""

    def seen(self, state: GuestState | None, *, asked: bool) -> Seen:
        """Returns what others, who wait for it, see of it.

        Args:
            state: What the hypervisor says of it; None if no domain exists.
            asked: Whether it is asked if it answers.
        """
        return Seen(self._standing(state, asked=asked), self.changed)

    def _standing(self, state: GuestState | None, *, asked: bool) -> Standing:
        if state is GuestState.KEPT or (state is None and self.wish not in (Wish.RUN, Wish.RENEW)):
            return Standing.DOWN
        if state is None:
            return Standing.FAILED if self.history.failures else Standing.COMING
        if self.silent:
            return Standing.SILENT
        return Standing.STARTED if asked and self.answered is None else Standing.ANSWERS

    def _may_go_on(self, limit: Restarts | None, now: float) -> bool:
        """Notes a fault, and returns whether it may be followed by a restart."""
        self.history = note_fault(self.history, now)
        if limit is None or not is_spent(self.history, limit, now):
            return True
        within = show_duration(parse_duration(limit.within))
        self.problem += f". {RestartsSpentError.code}: {limit.max} restarts within {within} did not help"
        return False
