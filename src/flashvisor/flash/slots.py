"""Try, then commit: what is done to slots, boot variables and the state ring, in which order. Pure.

Owns the order of actions: power may go after each of them, and firmware must find a slot that was verified. Does not
own what a slot may become (model/slot.py), what is true (flash/slotview.py), or the doing (flash/carryout.py)::

    plan_start(view, now)                    # the agent's first act in a boot: settle what happened, arm factory
    plan_update(view, release, now)          # ends in a reset into the new image
    plan_commit(view, now)                   # the running slot proved healthy

Why the order is safe:

- A slot is written only while neither BootOrder nor BootNext leads to it. It is verified before BootNext does.
- Commit goes into the record first, into BootOrder second: in between, the old slot starts, and its own `plan_commit`
  brings BootOrder up to date.
- "On trial" is recorded after BootNext is set: a record that says so, with BootNext spent and another slot running,
  means that the trial took place.
- Only a healthy slot writes BootOrder, or factory where it is healthy and the slot to start holds the same image.
- Each start is one that firmware will not repeat by itself (ADR 0022). With Secure Boot, BootOrder leads to the
  committed slot, whose start arms BootNext with factory; without, BootOrder leads to factory, and a healthy slot sets
  BootNext to itself. Factory checks digests, counts each hand-over before it makes it, and stays after DEATHS of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flashvisor.errors import NoRollbackError, ReleaseFailedBeforeError, SlotBusyError
from flashvisor.flash.slotview import (
    DEATHS,
    PAIR,
    Action,
    ForgetSite,
    Note,
    Reset,
    SetEntry,
    SetNext,
    SetOrder,
    View,
    WriteSlot,
    option,
)
from flashvisor.model.bootentry import ENTRIES
from flashvisor.model.record import FailedRelease, SlotNote, Trial
from flashvisor.model.slot import TRANSITIONS, Slot, SlotEvent, SlotState, hand_over, other, step

if TYPE_CHECKING:
    from collections.abc import Iterable

FAILED_LIMIT = 16  # releases remembered
SILENT = "the server was reset or lost power before it was healthy"
DEAD = "it did not become healthy in several starts in a row"
ROTTEN = "its bytes in flash have changed"
IGNORED = "firmware did not start it, although BootNext led to it"
WENT_BACK = "the owner went back to the image that ran before"
RESET = "the server was reset to factory during its trial"


@dataclass(frozen=True)
class Release:
    """What goes into a slot: SHA-256 of the image and of the whole slot that holds it, and the version."""

    image: str
    slot_sha256: str
    version: str


class _Pen:
    """Collects the actions of one plan, and what the record says after each."""

    def __init__(self, view: View, when: float, cause: str) -> None:
        self.view, self.when, self.cause = view, when, cause
        self.notes = {slot: view.note(slot) for slot in PAIR}
        self.committed, self.failed, self.trial = view.committed, view.record.failed, view.record.trial
        self.order = view.boot.order
        self.named = dict(view.named)
        self.taken = set(view.boot.entries or {})
        self.actions: list[Action] = []

    def move(self, slot: Slot, *events: SlotEvent, **changes: Any) -> None:  # noqa: ANN401 fields of SlotNote
        state = self.notes[slot].state
        for event in events:
            state = step(state, event)
        self.notes[slot] = msgspec.structs.replace(self.notes[slot], state=state, **changes)

    def fail(self, slot: Slot, reason: str) -> None:
        note, self.trial = self.notes[slot], None
        self.move(slot, SlotEvent.FAIL, reason=reason)
        if note.image:
            others = tuple(release for release in self.failed if release.image != note.image)
            entry = FailedRelease(image=note.image, version=note.version, reason=reason, when=self.when)
            self.failed = (*others, entry)[-FAILED_LIMIT:]

    def note(self) -> None:
        """Records what changed; nothing if nothing did."""
        before = next((action.slots for action in reversed(self.actions) if isinstance(action, Note)), self.view.record)
        after = msgspec.structs.replace(
            before,
            committed=self.committed,
            a=self.notes[Slot.A],
            b=self.notes[Slot.B],
            failed=self.failed,
            trial=self.trial,
        )
        if after != before:
            self.actions.append(Note(msgspec.structs.replace(after, when=self.when), self.cause))

    def entry(self, slot: Slot) -> int:
        """Returns the number of a slot's boot entry; makes one if there is none that is right."""
        entries, wanted = self.view.boot.entries or {}, option(slot)
        for number, named in self.named.items():
            found = entries.get(number)
            if named is slot and (found is None or (found.active and found.path == wanted.path)):
                return number
        number = next(number for number in range(ENTRIES) if number not in self.taken)
        self.taken.add(number)
        self.named[number] = slot
        self.actions.append(SetEntry(number, wanted))
        return number

    def unname(self, slot: Slot) -> None:
        """Firmware is to know no way to a slot any more."""
        if self.view.next is slot:
            self.actions.append(SetNext(None))
        self.set_order(number for number in self.order if self.named.get(number) is not slot)

    def set_order(self, numbers: Iterable[int]) -> None:
        wanted = tuple(dict.fromkeys(numbers))
        if wanted != self.order:
            self.actions.append(SetOrder(wanted))
            self.order = wanted

    def start_with(self, *slots: Slot) -> None:
        """BootOrder: these slots, then what is there and not ours (the machine's own entries)."""
        ours = [self.entry(slot) for slot in slots]
        self.set_order([*ours, *(number for number in self.order if number not in self.named)])

    def set_next(self, slot: Slot) -> None:
        if self.view.next is not slot:
            self.actions.append(SetNext(self.entry(slot)))

    def try_out(self, slot: Slot, trial: Trial) -> None:
        self.actions.append(SetNext(self.entry(slot)))
        self.trial = trial
        self.move(slot, SlotEvent.TRY)
        self.note()
        self.actions.append(Reset())


def plan_start(view: View, when: float, *, fresh: bool = True) -> list[Action]:
    """Returns what an agent does first: it settles what happened, and sees to it that its own death lands elsewhere.

    Factory hands over to a slot that can run, if there is one. The slot that firmware would start again by itself arms
    BootNext with factory, which `plan_commit` takes away again.

    Args:
        view: What is true, with the slots of `View.to_read`.
        when: Seconds since 1970 UTC.
        fresh: Firmware has started the server since; False for an agent that was started again, which goes on.
    """
    if view.pending and not fresh:
        return [Reset()]
    pen = _Pen(view, when, "boot")
    if view.pending and view.next:  # a reset would bring the server back here, for ever
        pen.actions.append(SetNext(None))
        if pen.notes[view.next].state is SlotState.WRITTEN:
            pen.move(view.next, SlotEvent.TRY)
        pen.fail(view.next, IGNORED)
    for slot in PAIR:
        note = view.note(slot)
        if note.state is SlotState.TRYING and view.state(slot) is SlotState.FAILED:
            pen.fail(slot, SILENT)
        elif note.state is SlotState.WRITTEN and view.state(slot) is SlotState.TRYING:
            pen.move(slot, SlotEvent.TRY)
    _judge_committed(pen)
    pen.note()
    if view.running is Slot.FACTORY:
        return [*pen.actions, *_hand_over(pen)]
    if view.first in (view.running, None):
        pen.set_next(Slot.FACTORY)
    return pen.actions


def _judge_committed(pen: _Pen) -> None:
    """Another slot runs in the committed one's place: was that its death, and one too many?"""
    view = pen.view
    if view.committed not in PAIR or view.running in (view.committed, Slot.FACTORY):
        return
    if view.rotten:
        _give_up(pen, view.committed, ROTTEN)
    elif view.note(view.committed).deaths >= DEATHS:
        _give_up(pen, view.committed, DEAD)


def _give_up(pen: _Pen, committed: Slot, reason: str) -> None:
    """The slot that stands in for the committed one takes its place, if it was healthy once; it must prove it again."""
    running = pen.view.running
    if running in pen.view.intact and pen.notes[running].state is SlotState.IDLE:
        if pen.notes[committed].state is SlotState.COMMITTED:
            pen.fail(committed, reason)
        pen.move(running, SlotEvent.VERIFIED, SlotEvent.TRY)


def _hand_over(pen: _Pen) -> list[Action]:
    """Factory's own part: it runs because nothing else did, or because firmware knows nothing."""
    after = _Pen(_settled(pen), pen.when, "hand over")
    slot = hand_over(after.view.facts)
    if slot is None or after.view.twin:
        return []
    # Counted before it happens: a slot that dies each time is handed over to DEATHS times, and then no more.
    after.move(slot, deaths=after.notes[slot].deaths + 1)
    after.note()
    after.set_next(slot)
    after.actions.append(Reset())
    return after.actions


def _settled(pen: _Pen) -> View:
    notes = [action.slots for action in pen.actions if isinstance(action, Note)]
    view = pen.view
    return View(view.running, notes[-1] if notes else view.record, view.boot, view.intact, view.digests, view.named)


def plan_update(
    view: View, release: Release, when: float, *, force: bool = False, trial: Trial | None = None
) -> list[Action]:
    """Returns how a release comes into the slot not in use, and is tried. What was done before a cut is not done again.

    Args:
        view: What is true.
        release: Its slot content must be at hand for WriteSlot.
        when: Seconds since 1970 UTC.
        force: Try it even if it failed before.
        trial: What it has to show.

    Raises:
        ReleaseFailedBeforeError: it failed on this server before.
        SlotBusyError: no slot may be written now.
    """
    earlier = next((row for row in view.record.failed if row.image == release.image), None)
    if earlier and not force:
        raise ReleaseFailedBeforeError(
            f"release {release.version} failed on this server before: {earlier.reason}", evidence=release.image
        )
    slot = target(view)
    pen = _Pen(view, when, "update")
    note = view.note(slot)
    there = note.state is SlotState.WRITTEN and slot in view.intact and note.sha256 == release.slot_sha256
    if not there:
        pen.unname(slot)
        fresh = SlotNote(state=note.state, image=release.image, version=release.version)
        pen.notes[slot] = fresh
        pen.move(slot, SlotEvent.WRITE)
        pen.note()
        pen.actions.append(WriteSlot(slot))
        pen.move(slot, SlotEvent.VERIFIED, sha256=release.slot_sha256)
        pen.note()
    pen.try_out(slot, trial or Trial())
    return pen.actions


def target(view: View) -> Slot:
    """Returns the slot to write: never the running one, never the committed one, never one on trial.

    Raises:
        SlotBusyError: there is none now.
    """
    if view.running is not Slot.FACTORY:
        candidates = [other(view.running)]
    elif view.committed in PAIR:
        candidates = [other(view.committed), view.committed]
    else:
        candidates = list(PAIR)
    for slot in candidates:
        if (view.note(slot).state, SlotEvent.WRITE) in TRANSITIONS:
            return slot
    words = ", ".join(f"slot {slot} is {view.note(slot).state.value}" for slot in candidates)
    raise SlotBusyError(f"no slot may be written while slot {view.running} runs: {words}")


def plan_commit(view: View, when: float) -> list[Action]:
    """Returns what a slot does that proved healthy: commit itself after a trial, and bring BootOrder up to date.

    On most starts, that is BootNext alone. In factory, nothing, unless it stands in for a slot with the same image. May
    be called again at any time, with digests just taken: if the running slot has rotted since, firmware is led to
    factory, which chooses.

    Args:
        view: What is true, with the slots of `View.to_read`.
        when: Seconds since 1970 UTC.
    """
    pen = _Pen(view, when, "commit")
    running, state = view.running, view.state(view.running) if view.running in PAIR else None
    if view.rotten_beneath:  # what runs was read before it rotted; it would not start again, or start as something else
        pen.start_with(Slot.FACTORY)
        return [*pen.actions, *([SetNext(None)] if view.next is running else [])]
    if running is Slot.FACTORY and not view.twin:
        return []
    if running in PAIR and view.committed is None and running in view.digests:
        # A ring that lost all: what runs and is healthy is it.
        pen.notes[running] = msgspec.structs.replace(pen.notes[running], sha256=view.digests[running])
        state = _adopt(pen, running)
    if state is SlotState.TRYING:
        _commit(pen, running)
    elif view.committed in PAIR and (view.twin or view.committed is running):
        pen.move(view.committed, deaths=0)
    pen.note()
    _set_order(pen)
    if pen.committed in PAIR and not view.boot.checked and (view.twin or pen.committed is running):
        pen.set_next(pen.committed)
    elif view.next in (other(running) if running in PAIR else None, Slot.FACTORY):
        pen.actions.append(SetNext(None))
    return pen.actions


def _commit(pen: _Pen, running: Slot) -> None:
    """The trial ended well."""
    if pen.notes[running].state is SlotState.WRITTEN:
        pen.move(running, SlotEvent.TRY)
    if pen.notes[other(running)].state is SlotState.COMMITTED:
        pen.move(other(running), SlotEvent.RETIRE, deaths=0)
    pen.move(running, SlotEvent.HEALTHY, deaths=0, reason="")
    pen.committed, pen.trial = running, None
    pen.failed = tuple(row for row in pen.failed if row.image != pen.notes[running].image)


def _adopt(pen: _Pen, running: Slot) -> SlotState:
    if pen.notes[running].state is SlotState.IDLE:
        pen.move(running, SlotEvent.VERIFIED, SlotEvent.TRY)
    return pen.notes[running].state


def _set_order(pen: _Pen) -> None:
    if pen.committed is None:
        return
    # Of a and b, firmware knows the committed one only: from there, the way to the other one leads through factory.
    pair = dict.fromkeys((pen.committed, Slot.FACTORY) if pen.view.boot.checked else (Slot.FACTORY, pen.committed))
    pen.start_with(*pair)


def plan_give_up(view: View, reason: str, when: float) -> list[Action]:
    """Returns how a trial ends that went wrong: the reason is remembered, and firmware starts what ran before.

    Raises:
        RuntimeError: the running slot is not on trial.
    """
    pen = _Pen(view, when, "trial failed")
    pen.fail(view.running, reason)
    pen.note()
    if view.next is view.running:
        pen.actions.append(SetNext(None))
    return [*pen.actions, Reset()]


def plan_rollback(view: View, when: float, *, trial: Trial | None = None) -> list[Action]:
    """Returns how the other slot's image, known good, is tried again; the commit is `plan_commit`'s.

    Raises:
        NoRollbackError: the other slot holds nothing that was healthy once, or not any more.
    """
    runs = view.committed if view.twin else view.running
    if runs is None or runs is Slot.FACTORY:
        raise NoRollbackError("factory runs; there is nothing that it could go back to")
    slot = other(runs)
    if view.state(slot) is not SlotState.IDLE or slot not in view.intact:
        rotten = view.state(slot) is SlotState.IDLE and view.note(slot).sha256
        why = "its bytes have changed" if rotten else f"it is {view.state(slot).value}"
        raise NoRollbackError(f"slot {slot} holds no known good image: {why}")
    pen = _Pen(view, when, "rollback")
    pen.move(slot, SlotEvent.VERIFIED)
    pen.note()
    pen.try_out(slot, trial or Trial())
    return pen.actions


def plan_factory_reset(view: View, when: float, *, keep_site: bool) -> list[Action]:
    """Returns how the server goes back to the image that it was shipped with. Slots a and b keep their bytes."""
    pen = _Pen(view, when, "factory reset")
    for slot in PAIR:
        if pen.notes[slot].state is SlotState.COMMITTED:
            pen.move(slot, SlotEvent.RETIRE, deaths=0)
        elif pen.notes[slot].state is SlotState.TRYING:
            pen.fail(slot, RESET)
    pen.committed = Slot.FACTORY
    pen.note()
    if not keep_site:
        pen.actions.append(ForgetSite())
    pen.start_with(Slot.FACTORY)
    if view.boot.next is not None:
        pen.actions.append(SetNext(None))
    pen.actions.append(Reset())
    return pen.actions
