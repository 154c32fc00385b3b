"""What people are told of the slots. Pure.

Owns the words. Does not own what is true (flash/slotview.py)::

    slots_report(view, on_trial=True, waits_for=("guest web does not run",))
    why_recovery(view)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.api.flashtypes import FailedReport, SlotReport, SlotsReport
from flashvisor.flash.slotview import PAIR

if TYPE_CHECKING:
    from flashvisor.flash.slotview import View
    from flashvisor.model.slot import Slot


def slots_report(view: View, *, on_trial: bool, waits_for: tuple[str, ...]) -> SlotsReport:
    """Returns where the slots stand, for the wire.

    Args:
        view: What is true.
        on_trial: Whether the running slot is.
        waits_for: What its trial still waits for.
    """
    return SlotsReport(
        running=view.running,
        committed=view.committed or "",
        recovery=view.recovery,
        trial=view.running if on_trial else "",
        waits_for=waits_for,
        slots=tuple(_slot_report(view, slot) for slot in PAIR),
        failed=tuple(
            FailedReport(image=row.image, version=row.version, reason=row.reason, when=row.when)
            for row in view.record.failed
        ),
    )


def _slot_report(view: View, slot: Slot) -> SlotReport:
    note = view.note(slot)
    return SlotReport(
        slot=slot,
        state=view.state(slot).value,
        version=note.version,
        image=note.image,
        running=slot is view.running,
        first=slot is view.committed,
        intact=slot in view.intact if slot in view.digests and note.sha256 else None,
        reason=note.reason,
    )


def why_recovery(view: View) -> str:
    """Returns why each slot cannot run."""
    words = []
    for slot in PAIR:
        note = view.note(slot)
        if slot not in view.intact:
            words.append(
                f"slot {slot} " + ("does not hold the bytes that were verified" if note.sha256 else "is empty")
            )
        else:
            words.append(f"slot {slot} failed: {note.reason or 'it did not become healthy'}")
    return f"factory runs, for no slot can: {', '.join(words)}"
