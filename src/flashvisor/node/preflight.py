"""What must hold before a release is downloaded and written: it fits, and this server can live with it. Pure.

Owns the refusals and how a device is called in them. Does not own signatures (trust/updates.py), nor the facts
(node/running.py)::

    admit(manifest, slots.report(), force=False)
    check(manifest, running, asked=Flavour.KVM)

A device counts if the running image's own list of drivers covers it. What is bound by other means (a bridge of the
chipset, a device of the firmware's tables, a driver that is part of the kernel and lists nothing) cannot be compared,
and does not block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import (
    ImageTooLargeError,
    MissingDriverError,
    NoSpaceError,
    OtherFlavourError,
    ReleaseFailedBeforeError,
    SlotBusyError,
)
from flashvisor.model.drivers import Patterns
from flashvisor.model.size import show_size
from flashvisor.model.slot import IMAGE_LIMIT

if TYPE_CHECKING:
    from flashvisor.api.flashtypes import SlotsReport
    from flashvisor.host.devices import Device
    from flashvisor.model.release import Flavour, Manifest

NAMED = 8  # devices that an error names; the rest are counted
ROLES = {
    "net": "network card",
    "nvme": "NVMe disk",
    "block": "disk",
    "scsi_host": "disk controller",
    "ata_port": "disk controller",
    "watchdog": "watchdog",
    "input": "input device",
    "tty": "serial port",
    "graphics": "graphics card",
    "rtc": "clock",
}
# What a modalias says of a device that the kernel has given no role, first match counts. PCI: class codes (PCI Code
# and ID Assignment Specification 1.11); virtio: device types (virtio 1.2, 5); USB: interface classes (usb.org).
KINDS = (
    (r"pci:.*bc01", "disk controller"),
    (r"pci:.*bc02", "network card"),
    (r"pci:.*bc03", "graphics card"),
    (r"pci:.*bc06", "bridge"),
    (r"pci:.*bc0Csc03", "USB controller"),
    (r"pci:.*bc0Csc05", "SMBus controller"),
    (r"virtio:d00000001v", "network card"),
    (r"virtio:d0000000[28]v", "disk"),
    (r"virtio:d00000003v", "serial port"),
    (r"virtio:d00000004v", "source of random numbers"),
    (r"usb:.*ic08", "USB storage"),
    (r"usb:.*ic09", "USB hub"),
    (r"usb:.*ic03", "keyboard or mouse"),
    (r"scsi:t-0x00", "disk"),
)


@dataclass(frozen=True)
class Running:
    """The running image and the server that it runs on.

    Args:
        flavour: The hypervisor; None if the image does not say.
        built: When the image was built, in seconds since 1970 UTC.
        modaliases: Patterns of the devices that the image drives; empty if its lists are not there.
        devices: What is bound to a driver.
    """

    flavour: Flavour | None
    built: float = 0.0
    modaliases: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()


def check(manifest: Manifest, running: Running, *, asked: Flavour | None) -> None:
    """Refuses a release that this server could not live with.

    Args:
        manifest: The release.
        running: What runs now.
        asked: The flavour that the owner named; None: the running one stays.

    Raises:
        OtherFlavourError: it is of another hypervisor flavour than the running image, and nobody asked for that.
        ImageTooLargeError: it does not fit into a slot.
        MissingDriverError: it lacks the driver of a device in use; all such devices are named.
    """
    wanted = asked or running.flavour
    title = f"release {manifest.name} {manifest.version}"
    if manifest.flavour is not wanted:
        here = wanted.value if wanted else "unknown"
        raise OtherFlavourError(f"{title} is for {manifest.flavour.value}, and this server's flavour is {here}")
    if manifest.length >= IMAGE_LIMIT:
        raise ImageTooLargeError(f"{title} has {manifest.length:,} bytes; a slot holds fewer than {IMAGE_LIMIT:,}")
    lost = lost_devices(manifest.modaliases, running)
    if lost:
        named = ", ".join(words(device) for device in lost[:NAMED])
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        raise MissingDriverError(
            f"{title} has no driver for {named}{more}", evidence="\n".join(device.modalias for device in lost)
        )


def lost_devices(offered: tuple[str, ...], running: Running) -> tuple[Device, ...]:
    """Returns the devices that the running image drives by its own list, and an image with other patterns does not."""
    new, now = Patterns(offered), Patterns(running.modaliases)
    return tuple(device for device in running.devices if not new.cover(device.modalias) and now.cover(device.modalias))


def words(device: Device) -> str:
    """Returns what people call a device: kind, place, identifiers, driver."""
    bus = device.modalias.split(":", 1)[0]
    by_alias = next((kind for pattern, kind in KINDS if re.match(pattern, device.modalias)), f"{bus} device")
    kind = next((ROLES[role] for role in device.roles if role in ROLES), by_alias)
    return f"{kind} {device.name} ({device.modalias}, driver {device.driver})"


def admit(manifest: Manifest, report: SlotsReport, *, force: bool) -> None:
    """Refuses a release that no slot would take now, before it is downloaded; the slots' own plan has the last word.

    Raises:
        SlotBusyError: a release is on trial.
        ReleaseFailedBeforeError: this one failed on this server before, and nobody forces it.
    """
    if report.trial:
        raise SlotBusyError(f"slot {report.trial} is on trial")
    earlier = next((row for row in report.failed if row.image == manifest.sha256), None)
    if earlier and not force:
        raise ReleaseFailedBeforeError(
            f"release {manifest.version} failed on this server before: {earlier.reason}", evidence=manifest.sha256
        )


def need_memory(need: int, available: int) -> None:
    """Refuses an update that would take RAM, bytes, from the guests.

    Raises:
        NoSpaceError: it would.
    """
    if available < need:
        raise NoSpaceError(
            f"an update takes {show_size(need)} of memory for a while, and {show_size(available)} are available",
            next_step="Stop a guest until the server has restarted, and call again.",
        )


def is_running(manifest: Manifest, report: SlotsReport) -> bool:
    """Tells whether a release is what runs, and what the server starts with from now on."""
    return any(
        slot.running and slot.slot == report.committed and slot.image == manifest.sha256 for slot in report.slots
    )
