"""What each call of the API does: one method for each route, blocking, in the wire's own types.

Owns nothing itself: it puts reconciler, keeper, store and reports together. HTTP stands in app.py.

Example::

    service.plan(request)
    service.start("web")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.api.types import (
    AttestReport,
    GuestReport,
    ImageReport,
    LogLine,
    NodeReport,
    SiteReport,
)
from flashvisor.errors import BadRequestError, BusyError, UnknownGenerationError, UnknownGuestError
from flashvisor.host import journal
from flashvisor.host.systemd import Power
from flashvisor.node.enrolment import enrol, take_keys_out
from flashvisor.node.report import boot_reports, generation_reports, guest_report, log_lines, node_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from flashvisor.api.flashtypes import (
        FactoryResetRequest,
        Installed,
        Medium,
        RollbackRequest,
        SlotsReport,
        UpdateRequest,
    )
    from flashvisor.api.types import (
        ApplyReport,
        ApplyRequest,
        AttestRequest,
        BootReport,
        EnrolReport,
        EnrolRequest,
        GenerationReport,
        PlanReport,
        PowerRequest,
        ReleaseRequest,
        SiteReport,
        StopRequest,
    )
    from flashvisor.node.consolehub import ConsoleHub
    from flashvisor.node.images import Incoming
    from flashvisor.node.keeper import Keeper
    from flashvisor.node.newflash import Burning, NewFlash
    from flashvisor.node.plan import Desired
    from flashvisor.node.sources import Source
    from flashvisor.node.updates import Tell, Updates
from flashvisor.node.report import Sources

LOG_LINES = 500  # lines of the journal that an answer holds
LOG_LIMIT = 10_000  # lines that may be asked for


@dataclass(frozen=True)
class FlashSide:
    """What the API does to the server's flash.

    Args:
        updates: Takes releases into the slots.
        new_flash: Burns a new flash device in place of a lost one.
        wipe: Forgets all that the flash remembers.
    """

    updates: Updates
    new_flash: NewFlash
    wipe: Callable[[], None]


class Service:
    """The server as the API shows it. Any thread may call.

    Args:
        sources: Where reports come from, and what changes the server.
        keeper: The guests.
        hub: Their consoles.
        flash: The server's flash.
        on_power: Carries a reboot or power-off out; returns at once.
    """

    def __init__(
        self,
        sources: Sources,
        keeper: Keeper,
        hub: ConsoleHub,
        flash: FlashSide,
        *,
        on_power: Callable[[Power], None],
    ) -> None:
        self._sources, self._keeper, self._hub, self._on_wipe = sources, keeper, hub, flash.wipe
        self._updates, self._slots, self._new_flash = flash.updates, flash.updates.slots, flash.new_flash
        self._reconciler, self._on_power = sources.reconciler, on_power

    def node(self) -> NodeReport:
        """Returns the server at a glance."""
        return node_report(self._sources)

    def logs(self, lines: int = LOG_LINES, unit: str = "") -> tuple[LogLine, ...]:
        """Returns the journal's newest lines, oldest first; of one unit only, if named."""
        if unit.startswith("-"):
            raise BadRequestError(f"'{unit}' is not a unit's name")
        return log_lines(journal.read(lines=min(lines, LOG_LIMIT), unit=unit))

    def power(self, request: PowerRequest) -> None:
        """Reboots or powers off, once the guests are down. Returns at once.

        Raises:
            BadRequestError: the action is neither.
        """
        try:
            action = Power(request.action)
        except ValueError as error:
            known = ", ".join(Power)
            raise BadRequestError(f"expected an action of {known}, got '{request.action}'") from error
        self._on_power(action)

    def site(self) -> SiteReport:
        """Returns the site in force."""
        return self._reconciler.site()

    def site_history(self) -> tuple[GenerationReport, ...]:
        """Returns the generations of the site that the flash remembers, newest first."""
        return generation_reports(self._sources.state.history())

    def site_generation(self, number: str) -> SiteReport:
        """Returns one of them, whole.

        Raises:
            UnknownGenerationError: it is not remembered.
        """
        found = self._sources.state.history()
        for each in found:
            if str(each.config.generation) == number:
                return SiteReport(
                    generation=each.config.generation, site_toml=each.config.site_toml, confirmed=each.confirmed
                )
        known = ", ".join(str(each.config.generation) for each in found)
        raise UnknownGenerationError(f"generation {number} of the site is not remembered", evidence=known)

    def boots(self) -> tuple[BootReport, ...]:
        """Returns the boots that the flash remembers, newest first."""
        return boot_reports(self._sources.state.boots())

    def plan(self, request: ApplyRequest) -> PlanReport:
        """Returns what an apply would do; raises as `Reconciler.plan`."""
        return self._reconciler.plan(request)

    def apply(self, request: ApplyRequest) -> ApplyReport:
        """Brings the server to a site; raises as `Reconciler.apply`."""
        return self._reconciler.apply(request)

    def confirm(self) -> SiteReport:
        """Keeps the site applied last; raises as `Reconciler.confirm`."""
        return self._reconciler.confirm()

    def enrol(self, request: EnrolRequest) -> EnrolReport:
        """Puts the owner's Secure Boot variables into firmware; raises as `enrolment.enrol`."""
        return enrol(self._sources.machine, request.writes)

    def release(self, request: ReleaseRequest) -> None:
        """Hands the server over to whoever comes next: keys out, memory wiped, restart. Raises as `take_keys_out`.

        Cut short, it is asked for again: keys that are out already are no fault.

        Raises:
            BusyError: an update is under way: it would write its owner's root of trust into the empty memory.
        """
        with self._updates.alone():
            take_keys_out(self._sources.machine, request.write)
            self._on_wipe()
        self._on_power(Power.REBOOT)

    def heard(self) -> None:
        """The owner has reached the server: a call has come in."""
        self._slots.heard()

    def slots(self, *, verify: bool = False) -> SlotsReport:
        """Returns where the slots of flash stand; raises as `SlotKeeper.report`."""
        return self._slots.report(verify=verify)

    def rollback(self, request: RollbackRequest) -> None:
        """Restarts into the other slot; raises as `SlotKeeper.rollback`, and BusyError as `update`."""
        self._refuse_unconfirmed()
        self._slots.rollback(probation=request.probation, health_url=request.health_url)

    def factory_reset(self, request: FactoryResetRequest) -> None:
        """Restarts into factory; raises as `SlotKeeper.factory_reset`."""
        self._slots.factory_reset(keep_site=request.keep_site)

    def update(self, request: UpdateRequest, push: Source, tell: Tell) -> Installed:
        """Takes a release in; raises as `Updates.run`.

        Raises:
            BusyError: an applied site waits for its confirmation: a restart would take it back unasked.
        """
        self._refuse_unconfirmed()
        return self._updates.run(request, push, tell)

    def attest(self, request: AttestRequest) -> AttestReport:
        """Has the TPM sign what was measured; raises as `host.tpm.quote`.

        Raises:
            BadRequestError: a PCR is named twice, or out of order.
        """
        if list(request.pcrs) != sorted(set(request.pcrs)):
            raise BadRequestError(f"expected ascending PCRs, got {request.pcrs}")
        found = self._sources.machine.quote(request.nonce, request.pcrs)
        return AttestReport(
            quoted=found.quoted, signature=found.signature, key=found.key, values=found.values, log=found.log
        )

    def images(self) -> tuple[ImageReport, ...]:
        """Returns the images that the server holds, by SHA-256."""
        return tuple(self.image(sha256) for sha256 in sorted(self._reconciler.library().digests()))

    def image(self, sha256: str) -> ImageReport:
        """Returns one image.

        Raises:
            ImageNotUploadedError: it is not there.
        """
        image = self._reconciler.library().get(sha256)
        desired = self._desired()
        users = [] if desired is None else [
            name
            for name, guest in sorted(desired.site.guest.items())
            if guest.image in desired.images and desired.images[guest.image].sha256 == sha256
        ]  # fmt: skip
        return ImageReport(sha256=sha256, size=image.size, kind=image.kind, used_by=tuple(users))

    def receive_image(self, sha256: str, size: int) -> AbstractContextManager[Incoming]:
        """Takes an image in; raises as `Reconciler.open_store` and `ImageStore.receive`."""
        return self._reconciler.open_store().receive(sha256, size)

    def media(self) -> tuple[Medium, ...]:
        """Returns the server's disks as flash devices to be."""
        return self._new_flash.media()

    def burn(self, name: str, serial: str | None, size: int) -> Burning:
        """Begins to burn a disk; raises as `NewFlash.begin`."""
        return self._new_flash.begin(name, serial, size)

    def guests(self) -> tuple[GuestReport, ...]:
        """Returns all guests of the site, by name."""
        desired = self._desired()
        if desired is None or not desired.site.guest:
            return ()
        states = self._sources.driver.domains()
        names = sorted(desired.site.guest)
        return tuple(guest_report(name, desired, self._keeper.record(name), states.get(name)) for name in names)

    def guest(self, name: str) -> GuestReport:
        """Returns one guest.

        Raises:
            UnknownGuestError: the site has no such guest.
        """
        record, desired = self._keeper.record(name), self._need(name)
        return guest_report(name, desired, record, self._sources.driver.domains().get(name))

    def start(self, name: str) -> GuestReport:
        """Starts a guest; raises as `Keeper.start`, and UnknownGuestError."""
        self._keeper.record(name)
        self._keeper.start(name, self._need(name), by_hand=True)
        return self.guest(name)

    def stop(self, name: str, request: StopRequest) -> GuestReport:
        """Tells a guest to stop; raises as `Keeper.ask_to_stop`, and UnknownGuestError."""
        self._keeper.record(name)
        self._keeper.ask_to_stop(name, force=request.force, grace=request.grace)
        return self.guest(name)

    def attach_console(self, name: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Has a listener hear a guest's console; raises as `ConsoleHub.attach`, and UnknownGuestError."""
        self._keeper.record(name)
        return self._hub.attach(name, listener)

    def type_console(self, name: str, data: bytes) -> None:
        """Types into a guest's console; raises as `ConsoleHub.send`."""
        self._hub.send(name, data)

    def _refuse_unconfirmed(self) -> None:
        if self._reconciler.waiting:
            raise BusyError(
                "the site applied last waits for its confirmation, and a restart would take it back",
                next_step="`flashvisor confirm` keeps it; else wait until the server has gone back.",
            )

    def _desired(self) -> Desired | None:
        now = self._reconciler.now
        return now.desired if now else None

    def _need(self, name: str) -> Desired:
        desired = self._desired()
        if desired is None:
            raise UnknownGuestError(f"no guest '{name}': the server has no site")
        return desired
