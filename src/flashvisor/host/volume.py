"""A mounted file system as the kernel sees it: its room, whether it can be written, how its device answers.

Reads only, and asks the device for nothing: a disk at rest stays at rest. Does not own mounting (mount.py) or what
follows from the figures (node/storagehealth.py)::

    before = look(Path("/var/lib/flashvisor/storage/main"))
    before.free, before.read_only, before.present

Source: statvfs(3), Documentation/block/stat.rst, Documentation/ABI/testing/sysfs-fs-ext4 and sysfs-class-scsi_device.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
MILLISECOND = 0.001  # seconds; the unit of times in /sys/block/*/stat
# Fields of /sys/block/*/stat, for reads, writes, discards and flushes.
ANSWERED, WAITED, IN_FLIGHT = (0, 4, 11, 15), (3, 7, 14, 16), 8
OFFLINE = frozenset({"offline", "transport-offline"})  # SCSI's words for a device that answers no more


@dataclass(frozen=True)
class Reading:
    """A file system at one moment.

    Attributes:
        size: Bytes.
        free: Bytes that programs without privileges can still take.
        read_only: It takes no writes: it was mounted so, or met an error.
        present: Its device is in the machine.
        answered: Requests that the device has answered since it appeared.
        waited: Seconds that they took, added up.
        in_flight: Requests that wait for their answer.
    """

    size: int
    free: int
    read_only: bool = False
    present: bool = True
    answered: int = 0
    waited: float = 0.0
    in_flight: int = 0


def look(place: Path, root: Path = ROOT) -> Reading:
    """Returns what is mounted at a place.

    Args:
        place: A mount point of a file system on a block device.
        root: Where /sys stands (for tests).

    Raises:
        OSError: the file system answers nothing at all.
    """
    room, number = os.statvfs(place), place.stat().st_dev
    device = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    fields = [int(word) for word in _text(device / "stat").split()]
    return Reading(
        size=room.f_blocks * room.f_frsize,
        free=room.f_bavail * room.f_frsize,
        read_only=bool(room.f_flag & os.ST_RDONLY) or _met_error(device, root),
        present=device.exists() and _text(device / "device/state") not in OFFLINE,
        answered=sum(fields[index] for index in ANSWERED if index < len(fields)),
        waited=sum(fields[index] for index in WAITED if index < len(fields)) * MILLISECOND,
        in_flight=fields[IN_FLIGHT] if len(fields) > IN_FLIGHT else 0,
    )


def _met_error(device: Path, root: Path) -> bool:
    # With errors=remount-ro, ext4 shuts itself after an error without setting the flag that statvfs shows
    # (fs/ext4/super.c, ext4_handle_error). Its count is of errors since the last whole check.
    return _text(root / "sys/fs/ext4" / device.resolve().name / "errors_count") not in ("", "0")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
