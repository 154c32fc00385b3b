"""What the server says of itself: reports built from facts. Reads, changes nothing.

Owns the words of a report. Does not own where facts come from (host/facts.py, machine.py, keeper.py).

Example::

    node_report(sources)
    guest_report("web", desired, record, state)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flashvisor import __version__
from flashvisor.api.types import (
    BootReport,
    Disk,
    GenerationReport,
    GuestReport,
    LogLine,
    Nic,
    NodeReport,
    Protection,
)
from flashvisor.errors import FlashvisorError
from flashvisor.host import facts
from flashvisor.host.clock import boot_seconds
from flashvisor.model.guest import GuestState
from flashvisor.model.names import assign_addresses
from flashvisor.model.size import parse_size
from flashvisor.node.guestrecord import CRASHED
from flashvisor.node.questions import questions
from flashvisor.node.storage import use_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flashvisor.guests.driver import Driver
    from flashvisor.host.journal import Entry
    from flashvisor.model.record import Boot
    from flashvisor.node.guestrecord import Record
    from flashvisor.node.machine import Machine
    from flashvisor.node.plan import Desired
    from flashvisor.node.problems import Problems
    from flashvisor.node.reconcile import Reconciler
    from flashvisor.node.state import Generation, NodeState
    from flashvisor.node.storagekeeper import StorageKeeper
    from flashvisor.node.timeline import Timeline
    from flashvisor.node.wearkeeper import WearKeeper

T = TypeVar("T")


@dataclass(frozen=True)
class Sources:
    """Where a node report comes from."""

    name: str
    machine: Machine
    driver: Driver
    reconciler: Reconciler
    timeline: Timeline
    problems: Problems
    state: NodeState
    wear: WearKeeper
    storages: StorageKeeper


def node_report(sources: Sources) -> NodeReport:
    """Returns the server at a glance. A part that cannot be asked is told as a problem, and the rest is there."""
    memory, flash = sources.machine.memory(), sources.wear.report()
    site = sources.reconciler.site()
    problems = list(sources.problems.all())
    return NodeReport(
        name=sources.name,
        version=__version__,
        image_id=image_id(),
        hypervisor=_asked(sources.driver.version, "", problems),
        kernel=facts.kernel_release(),
        uptime=boot_seconds(),
        cpus=facts.cpus(),
        memory=memory.total,
        memory_available=memory.available,
        site_generation=site.generation,
        unconfirmed=not site.confirmed,
        timeline=sources.timeline.stages(),
        nics=_nics(sources.machine),
        disks=_asked(lambda: _disks(sources.machine), (), problems),
        protections=protections(_asked(lambda: sources.machine.firmware().flag("SecureBoot"), None, problems)),
        problems=tuple(problems),
        flash_bytes_written=sources.machine.flash_bytes_written() or 0,
        flash=flash,
        storages=sources.storages.reports(),
    )


def image_id() -> str:
    """Returns which image runs: IMAGE_ID and IMAGE_VERSION of os-release(5)."""
    release = facts.os_release()
    return " ".join(filter(None, [release.get("IMAGE_ID", ""), release.get("IMAGE_VERSION", "")]))


def protections(secure: bool | None) -> tuple[Protection, ...]:
    """Returns which protections are on, and what that means for the owner.

    Args:
        secure: Whether the firmware enforces Secure Boot; None where it has none.
    """
    lock, watchdog = facts.lockdown(), facts.armed_watchdog()
    return (
        _protection(
            "Secure Boot",
            secure is True,
            "the firmware starts only images that the owner has signed",
            "anyone who reaches the flash can start another image, and bytes of factory that rotted are not noticed"
            if secure is False
            else "the firmware has no UEFI Secure Boot: anyone who reaches the flash can start another image",
        ),
        _protection(
            "kernel lockdown",
            lock in ("integrity", "confidentiality"),
            f"not even root can change the running kernel ({lock})",
            "root can change the running kernel",
        ),
        _protection(
            "signed modules",
            facts.modules_signed(),
            "the kernel loads only modules of its own build",
            "root can load any module into the kernel",
        ),
        _protection(
            "TPM 2.0",
            facts.has_tpm2(),
            "what was started is measured",
            "the server has none, or none that works: what was started is measured nowhere",
        ),
        _protection(
            "read-only root",
            facts.root_readonly(),
            "no file of the system can be changed, and all is fresh after a reboot",
            "files of the system can be changed until the next reboot",
        ),
        _protection(
            "hardware watchdog",
            bool(watchdog),
            f"a server that hangs is reset ({watchdog})",
            "a server that hangs stays so until somebody resets it: no watchdog of its hardware is armed",
        ),
    )


def guest_report(name: str, desired: Desired, record: Record, state: GuestState | None) -> GuestReport:
    """Returns a guest at a glance; `state` is None when the hypervisor does not know it. Pure."""
    guest, question = desired.site.guest[name], questions(desired.site).get(name)
    leases = [lease for lease in assign_addresses(desired.site) if lease.guest == name]
    target = str(leases[0].address) if leases else ""
    down = GuestState.CRASHED if record.problem.startswith(CRASHED) else GuestState.STOPPED
    return GuestReport(
        name=name,
        state=state or down,
        image=guest.image,
        cpus=guest.cpus,
        memory=parse_size(guest.memory),
        addresses=tuple(str(lease.address) for lease in leases),
        forwards=tuple(f"{each.protocol}/{each.port} -> {target}:{each.to or each.port}" for each in guest.forwards),
        started=record.started,
        answered=record.answered,
        restarts=record.restarts,
        problem=record.problem,
        probe=str(question.target) if question else "",
        waits=record.waits,
        failure=record.failure,
        failed=record.failed,
        watchdogs=record.watchdogs,
    )


def generation_reports(generations: Iterable[Generation]) -> tuple[GenerationReport, ...]:
    """Returns the site's generations as they go over the wire, without their texts. Pure."""
    return tuple(
        GenerationReport(
            generation=each.config.generation,
            when=each.config.when,
            who=each.config.who,
            confirmed=each.confirmed,
            size=len(each.config.site_toml.encode()),
        )
        for each in generations
    )


def boot_reports(boots: Iterable[Boot]) -> tuple[BootReport, ...]:
    """Returns boots as they go over the wire. Pure."""
    return tuple(
        BootReport(when=each.when, image_id=each.image_id, version=each.version, slot=each.slot, ready=each.ready_s)
        for each in boots
    )


def log_lines(entries: Iterable[Entry]) -> tuple[LogLine, ...]:
    """Returns the journal's entries as they go over the wire. Pure."""
    return tuple(
        LogLine(seconds=each.seconds, unit=each.unit, priority=each.priority, text=each.text) for each in entries
    )


def _protection(name: str, on: bool, good: str, bad: str) -> Protection:
    return Protection(name=name, on=on, meaning=good if on else bad)


def _nics(machine: Machine) -> tuple[Nic, ...]:
    found = machine.addresses()
    return tuple(
        Nic(
            name=card.name,
            mac=card.mac,
            up=card.up,
            driver=card.driver,
            addresses=tuple(address.text for address in found if address.interface in (card.name, *card.over)),
        )
        for card in machine.cards()
    )


def _disks(machine: Machine) -> tuple[Disk, ...]:
    return tuple(
        Disk(
            name=disk.device.removeprefix("/dev/"),
            serial=disk.serial,
            model=disk.model,
            size=disk.size,
            use=use_of(disk),
        )
        for disk in machine.disks()
    )


def _asked(ask: Callable[[], T], otherwise: T, problems: list[str]) -> T:
    try:
        return ask()
    except FlashvisorError as error:
        problems.append(f"{error.code}: {error.what}")
        return otherwise
