"""Keeps the ledger of wear: hears of every byte written to flash, and holds it against the kernel's own count.

Owns when the ledger is written (once a boot, and after a slot was written: it costs flash itself), and what is told of
it. Does not own the sums (flash/wear.py) nor what stands in the ring (state.py).

What a cut of power takes with it: nothing of the ring's sum, which every record carries; of a slot that was being
written, how far that came. The whole slot is booked then.

Example::

    wear = WearKeeper(machine, problems, keep=Path("/run/flashvisor/wear.json"))
    state = NodeState(Ring.open(device, book=wear.book))
    wear.take_up(state)
    with wear.writing(): ...        # a slot is written; `wear.book_slot` hears of it
    wear.save()
    wear.report()
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flashvisor.api.flashtypes import FlashReport
from flashvisor.errors import FlashBudgetError, FlashCountError
from flashvisor.flash import wear
from flashvisor.flash.layout import DEVICE_SIZE, SLOT_SIZE
from flashvisor.host import clock
from flashvisor.host.files import write_atomic
from flashvisor.model.record import Wear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date
    from pathlib import Path

    from flashvisor.flash.wear import Comparison
    from flashvisor.node.machine import Machine
    from flashvisor.node.problems import Problems
    from flashvisor.node.state import NodeState

log = logging.getLogger(__name__)

COUNT, BUDGET = "flash count", "flash budget"  # what the problems are about
CUT_SHORT = "update, cut short"  # at most so much: nobody knows how far it came


def _today() -> date:
    return clock.now().date()


def _disagreement(found: Comparison) -> FlashCountError:
    return FlashCountError(found.sentence, evidence=f"booked {found.booked} bytes, the kernel counted {found.counted}")


class WearKeeper:
    """The ledger of wear of the flash device. Any thread may call.

    Args:
        machine: Counts what the kernel wrote, and asks the device how it is.
        problems: Where a disagreement and a broken budget are told.
        keep: A file that a reboot empties: with which sum this boot began.
        today: The date, UTC.

    Attributes:
        lost: Says whether the flash is gone or failed: what it was given last may never have reached it, so nothing is
            compared then.
    """

    def __init__(self, machine: Machine, problems: Problems, *, keep: Path, today: Callable[[], date] = _today) -> None:
        self._machine, self._problems, self._keep, self._today = machine, problems, keep, today
        self.lost: Callable[[], bool] = lambda: False
        # Taken by the ring's listener while the memory is locked: nothing here asks the memory under this lock.
        self._lock = threading.Lock()
        self._state: NodeState | None = None
        self._ledger = Wear(bytes_written=0)
        self._at_boot = 0
        self._busy = 0
        self._told: date | None = None

    def take_up(self, state: NodeState, *, anew: bool = False) -> None:
        """Reads the ledger from the memory, before anything is written to flash. Writes nothing there.

        Args:
            state: The memory.
            anew: The device was put in just now: the kernel counts it from 0. What it counts already was burning it.
        """
        self._state, day = state, self._today()
        ledger, slots = state.wear(day), state.unbooked_slots()
        begun = None if anew else self._begun()
        if slots:
            most = slots * SLOT_SIZE
            counted = self._machine.flash_bytes_written() if begun is not None else None
            if begun is not None and counted is not None:  # the agent was restarted, the kernel was not: it knows
                most = min(most, max(0, counted - (ledger.bytes_written - begun)))
            ledger = wear.book(ledger, day, CUT_SHORT, [(0, most)])
        if begun is None:
            begun = ledger.bytes_written - ((self._machine.flash_bytes_written() or 0) if anew else 0)
            write_atomic(self._keep, msgspec.json.encode(begun))
        self._ledger, self._at_boot = ledger, begun

    def book(self, cause: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Books a batch of writes that ended in a flush.

        Args:
            cause: Why flash was written.
            ranges: Offset and length of each write, in bytes.
        """
        with self._lock:
            self._ledger = wear.book(self._ledger, self._today(), cause, ranges)
        self._look()

    def book_slot(self, cause: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Books what was written to a slot, as `book`, and writes the ledger: a slot's bytes stand nowhere else."""
        self.book(cause, ranges)
        self.save()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Surrounds the writing of a slot: the kernel counts meanwhile what is booked only at its end."""
        self._count_busy(1)
        try:
            yield
        finally:
            self._count_busy(-1)

    def save(self) -> None:
        """Writes the ledger to flash.

        Raises:
            FlashError, MachineError: flash did not take it. The next ledger makes up for it.
        """
        self._memory().note_wear(self._as_of)

    def keep_sums_only(self) -> None:
        """Writes how worn the device is, and no more: the server forgets its owner. Raises as `save`."""
        with self._lock:
            self._ledger = wear.sums_only(self._ledger)
        self.save()

    def report(self) -> FlashReport:
        """Returns all that is known of the flash's wear, after comparing it with the kernel's count."""
        with self._memory().quiet():  # else a record could be counted and not booked yet
            comparison = self._look()
        ledger, day, health = self._ledger, self._today(), self._machine.flash_health()
        forecast = wear.forecast(ledger, day, wear.endurance(DEVICE_SIZE), used=health.used)
        return FlashReport(
            written=ledger.bytes_written,
            by_cause=ledger.by_cause,
            by_day=ledger.by_day,
            worn=ledger.worn,
            amplification=wear.amplification(ledger),
            booked_since_boot=ledger.bytes_written - self._at_boot,
            counted_since_boot=comparison.counted if comparison else None,
            today=sum(ledger.by_day.get(day.isoformat(), {}).values()),
            daily_budget=wear.DAILY_BUDGET,
            forecast=forecast.sentence,
            lasts_until=forecast.day.isoformat() if forecast.day else "",
            device=health.kind,
            health=health.words,
            used=health.used,
        )

    def _as_of(self, ring: int) -> Wear:
        with self._lock:
            self._ledger = msgspec.structs.replace(self._ledger, ring=ring)
            return self._ledger

    def _look(self) -> Comparison | None:
        """Tells of a disagreement and a broken budget. The memory must be locked, or a slot being written."""
        day = self._today()
        with self._lock:
            ledger = self._ledger
            counted = self._machine.flash_bytes_written() if not (self._busy or self.lost()) else None
        overrun = wear.over_budget(ledger, day)
        if overrun is None:
            self._problems.clear(BUDGET)
        elif self._told != day:  # once a day: the sum grows, the words would be others each time
            self._told = day
            log.warning("%s", overrun.sentence)
            self._problems.tell(BUDGET, FlashBudgetError(overrun.sentence))
        if counted is None:
            return None
        comparison = wear.compare(ledger.bytes_written - self._at_boot, counted)
        if comparison.agrees:
            self._problems.clear(COUNT)
        else:
            self._problems.tell(COUNT, _disagreement(comparison))
        return comparison

    def _count_busy(self, change: int) -> None:
        with self._lock:
            self._busy += change

    def _begun(self) -> int | None:
        """The sum with which this boot began; None if this is the agent's first start in it."""
        try:
            return msgspec.json.decode(self._keep.read_bytes(), type=int)
        except (OSError, msgspec.MsgspecError):
            return None

    def _memory(self) -> NodeState:
        if self._state is None:
            raise RuntimeError("the ledger was not taken up: `take_up` comes first")
        return self._state
