"""The devices of this machine that a driver works for now. Reads sysfs only.

Owns what the kernel says of them. Does not own which image drives them (model/drivers.py)::

    for device in bound():
        print(device.path, device.modalias, device.driver)

Source: Documentation/admin-guide/sysfs-rules.rst: a device is a directory under /sys/devices; `driver` is a link to
what it is bound to, `modalias` what modules are found by.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
# What a device serves as, by the directories that the kernel makes in it for it.
ROLES = ("net", "block", "nvme", "scsi_host", "ata_port", "usb_device", "input", "tty", "graphics", "rtc", "watchdog")


@dataclass(frozen=True)
class Device:
    """A device that is bound to a driver.

    Args:
        path: Below /sys/devices.
        modalias: What modules are found by: bus, colon, identifiers.
        driver: The driver's name.
        roles: Which of ROLES the kernel made of it.
    """

    path: str
    modalias: str
    driver: str
    roles: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path: "0000:01:00.0"."""
        return self.path.rsplit("/", 1)[-1]


def bound(root: Path = ROOT) -> tuple[Device, ...]:
    """Returns the devices that are bound to a driver, by path; of those with the same modalias the first one."""
    top = root / "sys/devices"
    found: dict[str, Device] = {}
    for place, directories, files in os.walk(top):
        directories.sort()
        if "modalias" not in files or "driver" not in directories:
            continue
        modalias = _text(Path(place) / "modalias")
        if modalias and modalias not in found:
            driver = os.path.realpath(Path(place) / "driver").rsplit("/", 1)[-1]
            roles = tuple(role for role in ROLES if role in directories)
            found[modalias] = Device(str(Path(place).relative_to(top)), modalias, driver, roles)
    return tuple(sorted(found.values(), key=lambda device: device.path))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # it went away meanwhile
