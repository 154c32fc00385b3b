"""The slots under the agent: settled when it starts, committed when the server is healthy, written by an update.

Owns when the plans of flash/slots.py are made, with what is true then, and the trial of a new image. Does not own the
plans, nor how a release comes here (updates.py)::

    keeper = SlotKeeper(state, machine, guests, Tools(...))
    if keeper.settle():       # a restart is under way: begin nothing
        return
    keeper.healthy()          # the API serves: what runs is committed already, or its trial goes on
    keeper.install(image, manifest, force=False, probation=600.0, health_url="")
"""

from __future__ import annotations

import hashlib
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flashvisor.errors import FlashLostError, FlashvisorError, HypervisorError, NoSlotsError, RecoveryError
from flashvisor.flash.carryout import Hands, carry_out
from flashvisor.flash.slotimage import content_digest, slot_content
from flashvisor.flash.slots import (
    WENT_BACK,
    Release,
    plan_commit,
    plan_factory_reset,
    plan_give_up,
    plan_rollback,
    plan_start,
    plan_update,
    target,
)
from flashvisor.flash.slotview import PAIR, Action, Reset, View, derive
from flashvisor.host.efivars import boot_variables
from flashvisor.host.files import need_space
from flashvisor.model.record import Trial
from flashvisor.model.slot import Slot, SlotState
from flashvisor.node.slotreport import slots_report, why_recovery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from flashvisor.api.flashtypes import SlotsReport
    from flashvisor.flash.device import FlashDevice
    from flashvisor.flash.update import SlotDevice
    from flashvisor.model.release import Manifest
    from flashvisor.node.machine import Machine
    from flashvisor.node.slotwork import Guests, Tools
    from flashvisor.node.state import NodeState

log = logging.getLogger(__name__)

SETTLED = "settled"  # the file in `run` that says that the server is healthy (units/flashvisor-probation.service)
SEEN = "slots-seen"  # the file in `run` that says that an agent settled the slots of this start already
SCRATCH = 70 << 20  # bytes of RAM that an update takes beside the image: a slot's content, and room to breathe
INTERVAL = 2.0  # seconds between two looks at a trial
AGAIN = 60.0  # seconds until the end of a trial is tried again that firmware or flash did not take
HEALTH_TIMEOUT = 10.0  # seconds for an answer of the health URL
API = "the API does not serve"
OWNER = "the owner has not reached the server"


class SlotKeeper:
    """The slots of this server. Any thread may call; one plan is carried out at a time.

    Args:
        state: The server's memory.
        machine: Firmware's variables and the slots' partitions.
        guests: For the trial.
        tools: What it works with.
    """

    def __init__(self, state: NodeState, machine: Machine, guests: Guests, tools: Tools) -> None:
        self._state, self._machine, self._guests, self._tools = state, machine, guests, tools
        self._lock = threading.RLock()
        self._digests: dict[Slot, str] = {}
        self._runs = ""
        self._serves = threading.Event()
        self._heard = threading.Event()
        self._over = threading.Event()

    def settle(self) -> bool:
        """Settles what happened before this start; see `plan_start`. Begins the trial if this is one.

        Returns:
            Whether the server restarts into another slot.

        Raises:
            FirmwareVariableError: firmware does not give or take its variables.
            FlashError: the state ring takes no record.
        """
        if not self._machine.firmware().available():
            return False
        with self._lock:
            view = self._look()
            self._runs = view.running
            seen = self._tools.run / SEEN
            actions = plan_start(view, self._tools.wall(), fresh=not seen.exists())
            seen.touch()
            restarts = any(isinstance(action, Reset) for action in actions)
            if restarts:
                self._tools.say(f"flashvisor: slot {view.running} hands over to another slot")
            self._carry_out(actions)
            view = self._look()
            if view.recovery and not restarts:
                self._tools.problems.tell("slots", RecoveryError(why_recovery(view)))
            trial = self._trial(view)
        if trial and not restarts:
            threading.Thread(target=lambda: self._watch(trial), name="trial", daemon=True).start()
        return restarts

    def runs(self) -> str:
        """Returns the slot that this start came from, "" where nobody knows. Known once settled."""
        return self._runs

    def healthy(self) -> None:
        """The API serves: commits what runs, unless it is on trial; see `plan_commit`.

        Also where that fails, no timer resets the server: it serves, and a reset would not mend firmware or flash.

        Raises:
            FirmwareVariableError: firmware does not give or take its variables.
            FlashError: the state ring takes no record.
        """
        self._serves.set()
        if not self._machine.firmware().available():
            self._settled()
            return
        with self._lock:
            if self._trial(self._look()) is None:
                self._commit()

    def heard(self) -> None:
        """The owner has reached the server."""
        self._serves.set()
        self._heard.set()

    def forget(self) -> None:
        """The flash is another device, or its bytes may be others: the slots are read anew when they are needed."""
        with self._lock:
            self._digests.clear()

    def waits_for(self, trial: Trial) -> tuple[str, ...]:
        """Returns in plain words what a trial still waits for; nothing: it ends well."""
        if not self._serves.is_set():  # nor is a site in force yet, whose guests could be asked for
            return (API,)
        missing = []
        if trial.health_url:
            from flashvisor.host import https  # late: a start counts every module

            if not https.answers(trial.health_url, HEALTH_TIMEOUT):
                missing.append(f"{trial.health_url} does not answer")
        elif not self._heard.is_set():
            missing.append(OWNER)
        return (*missing, *self._guests.silent(trial.guests))

    def held(self) -> Iterable[bytes]:
        """Yields each image that is in a slot, once, the running one first; about 32 MB each."""
        known = set()
        running = self._look().running
        for slot in sorted(Slot, key=lambda slot: slot is not running):
            image = self._machine.image(slot)
            digest = hashlib.sha256(image).digest()
            if image and digest not in known:
                known.add(digest)
                yield image

    def install(self, image: Path, manifest: Manifest, *, force: bool, probation: float, health_url: str) -> None:
        """Writes an image into the slot not in use, and restarts into it, on trial.

        Args:
            image: The signed image, verified.
            manifest: What it is.
            force: Try it even if it failed here before.
            probation: Seconds since the kernel's start that the trial may take.
            health_url: What is to answer in its trial; the owner is to reach the server if "".

        Raises:
            NoSlotsError: this server was not started by UEFI.
            NoSpaceError: there is not enough memory.
            SlotBusyError, ReleaseFailedBeforeError, SlotReadBackError: as the plan says.
        """
        with self._planning() as view:
            slot = target(view)
            need_space(self._tools.run, SCRATCH, "the slot's new content")
            with slot_content(image, slot, self._tools.run) as content:
                release = Release(manifest.sha256, content_digest(content), manifest.version)
                trial = self._new_trial(probation, health_url)
                plan = plan_update(view, release, self._tools.wall(), force=force, trial=trial)
                self._carry_out(plan, content)

    def rollback(self, *, probation: float, health_url: str) -> None:
        """Restarts into the other slot's image, which was healthy once, on trial; ends a trial that is under way.

        Raises:
            NoSlotsError: this server was not started by UEFI.
            NoRollbackError: there is none.
        """
        with self._planning() as view:
            if self._trial(view):
                self._give_up(WENT_BACK)
                return
            trial = self._new_trial(probation, health_url)
            self._carry_out(plan_rollback(view, self._tools.wall(), trial=trial))

    def factory_reset(self, *, keep_site: bool) -> None:
        """Restarts into the image that the server was shipped with.

        Raises:
            NoSlotsError: this server was not started by UEFI.
        """
        with self._planning() as view:
            self._carry_out(plan_factory_reset(view, self._tools.wall(), keep_site=keep_site))

    def report(self, *, verify: bool = False) -> SlotsReport:
        """Returns where the slots stand.

        Args:
            verify: Read both slots, 64 MiB, and compare them with their digests.

        Raises:
            NoSlotsError: this server was not started by UEFI.
        """
        with self._planning(read=PAIR if verify else ()) as view:
            trial = self._trial(view)
        return slots_report(view, on_trial=trial is not None, waits_for=self.waits_for(trial) if trial else ())

    def _watch(self, trial: Trial) -> None:
        """A trial: it ends well when nothing is missing any more, or goes wrong when its time is up."""
        while not self._over.is_set():
            missing, pause = self.waits_for(trial), INTERVAL
            try:
                if not missing or self._tools.boot_seconds() > trial.probation:
                    self._end(missing)
            except FlashvisorError as error:
                self._tools.problems.tell("slots", error)
                if isinstance(error, FlashLostError):
                    self._disarm()  # guests go on; after a reset, nothing would start
                pause = AGAIN
            self._over.wait(pause)

    def _end(self, missing: Sequence[str]) -> None:
        with self._lock:
            view = self._look()
            if self._trial(view) and missing:
                self._give_up("; ".join(missing))
            elif self._trial(view) or view.committed is view.running:  # the latter: a commit that firmware cut short
                self._commit()
                self._tools.problems.clear("slots")
                if self._look().committed is view.running:  # not one whose bytes rotted under it
                    self._tools.say(f"flashvisor: slot {view.running} is committed")
            else:  # others ended it meanwhile
                self._over.set()

    def _commit(self) -> None:
        self._disarm()
        view = self._look(commit=True)
        self._carry_out(plan_commit(view, self._tools.wall()))
        self._settled()

    def _settled(self) -> None:
        self._over.set()
        self._disarm()

    def _disarm(self) -> None:
        """From now on, no timer resets the server."""
        (self._tools.run / SETTLED).touch()

    def _give_up(self, reason: str) -> None:
        self._tools.say(f"flashvisor: the trial failed: {reason}")
        self._carry_out(plan_give_up(self._look(), reason, self._tools.wall()))
        self._over.set()

    def _new_trial(self, probation: float, health_url: str) -> Trial:
        try:
            guests = self._guests.running()
        except HypervisorError as error:  # another image is how that ends
            log.warning("the trial will wait for no guest: %s", error.what)
            guests = frozenset()
        return Trial(guests=tuple(sorted(guests)), health_url=health_url, probation=probation)

    def _trial(self, view: View) -> Trial | None:
        if view.running not in PAIR or view.state(view.running) is not SlotState.TRYING:
            return None
        return view.record.trial or Trial()

    @contextmanager
    def _planning(self, read: Sequence[Slot] = PAIR) -> Iterator[View]:
        if not self._machine.firmware().available():
            raise NoSlotsError("this server was not started by UEFI: its slots cannot be told apart")
        with self._lock:
            self._read(read)
            yield self._look()

    def _look(self, *, commit: bool = False) -> View:
        """Returns what is true now; slots that must be read are."""
        boot, record = boot_variables(self._machine.firmware()), self._state.slots()
        view = derive(boot, record, self._digests)
        wanted = view.to_read(commit=commit)
        self._read(wanted if commit else [slot for slot in wanted if slot not in self._digests])
        return derive(boot, record, self._digests)

    def _read(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            with self._machine.open_slot(slot) as device:
                device.forget_cache()
                self._digests[slot] = content_digest(device)

    def _carry_out(self, actions: Sequence[Action], content: FlashDevice | None = None) -> None:
        @contextmanager
        def new_content(_: Slot) -> Iterator[FlashDevice]:
            if content is None:
                raise RuntimeError("this plan writes no slot")
            yield content

        @contextmanager
        def writable(slot: Slot) -> Iterator[SlotDevice]:
            self._digests.pop(slot, None)
            with self._tools.writing(), self._machine.open_slot(slot, write=True) as device:
                yield device

        carry_out(
            actions,
            Hands(
                variables=self._machine.firmware(),
                append=self._state.append,
                slot=writable,
                content=new_content,
                book=self._tools.book,
                forget_site=lambda: self._state.forget_site(self._tools.wall()),
                reset=self._tools.restart,
            ),
        )
