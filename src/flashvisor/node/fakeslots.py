"""Slots in memory, of equal rank with flash's: for tests, and for the agent on an ordinary machine.

Example::

    slots = FakeSlots(image, version="1.0")     # slot a runs it
    slots.install(path, manifest, force=False, probation=600.0, health_url="")
    slots.end_trial(reason="guest web is silent")
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flashvisor.api.flashtypes import FailedReport, SlotReport, SlotsReport
from flashvisor.errors import NoRollbackError, SlotBusyError
from flashvisor.flash.slots import WENT_BACK
from flashvisor.model.slot import Slot, SlotState, other

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flashvisor.model.release import Manifest


@dataclass
class _Content:
    version: str = ""
    image: bytes = b""
    state: SlotState = SlotState.IDLE
    reason: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.image).hexdigest() if self.image else ""


@dataclass
class FakeSlots:
    """Both slots; a is committed and runs. `prompt`: each trial ends well at once.

    `wishes` are the `force`, `probation` and `health_url` of every install.
    """

    image: bytes = b""
    version: str = ""
    prompt: bool = False
    running: Slot = Slot.A
    committed: Slot = Slot.A
    failed: list[FailedReport] = field(default_factory=list)
    wishes: list[tuple[bool, float, str]] = field(default_factory=list)
    _content: dict[Slot, _Content] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shipped = _Content(self.version, self.image, SlotState.COMMITTED)
        self._content = {Slot.FACTORY: _Content(self.version, self.image), Slot.A: shipped, Slot.B: _Content()}

    def settle(self) -> bool:
        """Nothing is to be settled."""
        return False

    def runs(self) -> str:
        """Returns the slot that runs."""
        return self.running

    def healthy(self) -> None:
        """Nothing waits for it."""

    def heard(self) -> None:
        """Nothing waits for it."""

    def forget(self) -> None:
        """Nothing is kept of a device."""

    def rollback(self, *, probation: float, health_url: str) -> None:
        """Puts the other image on trial; ends a trial that is under way.

        Raises:
            NoRollbackError: there is none.
        """
        if self.report().trial:
            self.end_trial(reason=WENT_BACK)
            return
        target = other(self.committed)
        if not self._content[target].image:
            raise NoRollbackError(f"slot {target} is empty")
        self.wishes.append((False, probation, health_url))
        self._content[target].state = SlotState.TRYING
        if self.prompt:
            self.end_trial()

    def factory_reset(self, *, keep_site: bool) -> None:
        """Runs factory; the site is not the slots'."""
        del keep_site
        self.running = self.committed = Slot.FACTORY

    def report(self, *, verify: bool = False) -> SlotsReport:
        """Returns where all slots stand."""
        del verify
        trying = [slot for slot, content in self._content.items() if content.state is SlotState.TRYING]
        return SlotsReport(
            running=self.running,
            committed=self.committed,
            recovery=False,
            trial=trying[0] if trying else "",
            slots=tuple(
                SlotReport(
                    slot=slot,
                    state=content.state.value,
                    version=content.version,
                    image=content.sha256,
                    running=slot is self.running,
                    first=slot is self.committed,
                    intact=True,
                    reason=content.reason,
                )
                for slot, content in self._content.items()
            ),
            failed=tuple(self.failed),
        )

    def held(self) -> Iterable[bytes]:
        """Yields each image once."""
        yield from {content.image: None for content in self._content.values() if content.image}

    def install(self, image: Path, manifest: Manifest, *, force: bool, probation: float, health_url: str) -> None:
        """Puts an image into the slot not in use, and has it on trial.

        Raises:
            SlotBusyError: the other one is on trial.
        """
        if self.report().trial:
            raise SlotBusyError(f"slot {self.report().trial} is on trial")
        self.wishes.append((force, probation, health_url))
        target = other(self.committed)
        self._content[target] = _Content(manifest.version, image.read_bytes(), SlotState.TRYING)
        if self.prompt:
            self.end_trial()

    def end_trial(self, *, reason: str = "") -> None:
        """Commits the slot on trial, which runs from then on; or gives it up for a reason."""
        slot = Slot(self.report().trial)
        content = self._content[slot]
        if reason:
            content.state, content.reason = SlotState.FAILED, reason
            row = FailedReport(image=content.sha256, version=content.version, reason=reason, when=0.0)
            self.failed.append(row)
            return
        content.state, self._content[self.committed].state = SlotState.COMMITTED, SlotState.IDLE
        self.running = self.committed = slot
