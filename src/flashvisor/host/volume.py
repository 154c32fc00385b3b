"""A mounted file system as the kernel sees it: its room, whether it can be written, how its device answers.

Reads only, and asks the device for nothing: a disk at rest stays at rest. Does not own mounting (mount.py) or what
follows from the figures (node/storagehealth.py)::

    now = look(Path("/var/lib/flashvisor/storage/main"), "259:0")
    now.free, now.read_only, now.present

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
NO_DEVICE = "0:"  # begins the number of a file system without a block device
OFFLINE = frozenset({"offline", "transport-offline"})  # SCSI's words for a device that answers no more


@dataclass(frozen=True)
class Reading:
    """A file system at one moment.

    Attributes:
        size: Bytes.
        free: Bytes that programs without privileges can still take.
        read_only: It takes no writes: it was mounted so, or met an error.
        present: Its device is in the machine, or its server answers.
        answered: Requests that the device has answered since it appeared.
        waited: Seconds that they took, added up.
        in_flight: Requests that wait for their answer.
        missing: Halves of a mirror that do not work.
        filled: The share of a mirror's half that was filled again so far; None if none is being filled.
        remote: It is on the network: no block device of this machine is behind it.
    """

    size: int
    free: int
    read_only: bool = False
    present: bool = True
    answered: int = 0
    waited: float = 0.0
    in_flight: int = 0
    missing: int = 0
    filled: float | None = None
    remote: bool = False


def look(place: Path, number: str, root: Path = ROOT) -> Reading:
    """Returns how a mounted file system is. One on the network may take its time to answer.

    Args:
        place: Where it is mounted.
        number: Its device's major and minor number, "259:0" (host/mount.py).
        root: Where /sys stands (for tests).
    """
    device, remote = root / "sys/dev/block" / number, number.startswith(NO_DEVICE)
    try:
        room = os.statvfs(place)
    except OSError:
        return Reading(size=0, free=0, present=False, remote=remote)
    fields = [int(word) for word in _text(device / "stat").split()]
    return Reading(
        size=room.f_blocks * room.f_frsize,
        free=room.f_bavail * room.f_frsize,
        read_only=bool(room.f_flag & os.ST_RDONLY) or (not remote and _met_error(place, device, root)),
        present=remote or (device.exists() and _text(device / "device/state") not in OFFLINE),
        answered=sum(fields[index] for index in ANSWERED if index < len(fields)),
        waited=sum(fields[index] for index in WAITED if index < len(fields)) * MILLISECOND,
        in_flight=fields[IN_FLIGHT] if len(fields) > IN_FLIGHT else 0,
        missing=int(_text(device / "md/degraded") or 0),
        filled=_share(_text(device / "md/sync_completed")),
        remote=remote,
    )


def _share(text: str) -> float | None:
    """The kernel's "done / all" in sectors (Documentation/admin-guide/md.rst, sync_completed)."""
    done, _, whole = text.partition(" / ")
    return int(done) / int(whole) if whole.isdecimal() and int(whole) else None


def _met_error(place: Path, device: Path, root: Path) -> bool:
    """ext4 and XFS shut themselves after an error, without the flag that statvfs shows.

    ext4 counts errors since its last whole check (fs/ext4/super.c, ext4_handle_error). XFS refuses stat(2), and not
    statvfs (fs/xfs/xfs_iops.c, xfs_vn_getattr).
    """
    try:
        place.stat()
    except OSError:
        return True
    return _text(root / "sys/fs/ext4" / device.resolve().name / "errors_count") not in ("", "0")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
