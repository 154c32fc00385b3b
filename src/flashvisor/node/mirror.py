"""Mirrors: two disks that hold the same. Which two, and what is to be done to have them run as one. Pure.

The rule of storage.py holds for each half: it is taken only if the site names it and it is blank, or if it is a half of
this very mirror. A new mirror needs both. Does not own mdadm (host/mdadm.py)::

    found = find_mirror("main", ("S1", "S2"), disks)
    found.members, found.blanks, found.missing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import ForeignDataError, NoDataDiskError
from flashvisor.model.site import Storage
from flashvisor.node.storage import describe, find_disk, mirror_label, storage_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashvisor.node.storage import DataDisk


@dataclass(frozen=True)
class Mirror:
    """A mirror's disks as found.

    Attributes:
        label: The array's name.
        members: Those that are halves of it already, current or not.
        blanks: Those that become halves of it.
        missing: Serial numbers of those that are not in the server.
    """

    label: str
    members: tuple[DataDisk, ...]
    blanks: tuple[DataDisk, ...]
    missing: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether there is no array yet."""
        return not self.members


def find_mirror(name: str, serials: Sequence[str], disks: Sequence[DataDisk]) -> Mirror:
    """Returns a mirror's disks.

    Raises:
        NoDataDiskError: neither is there, one of a new mirror is not, two disks have one serial number, or one is the
            server's own flash.
        ForeignDataError: one holds something else. It must not be touched.
    """
    label = storage_label(name)
    missing = tuple(serial for serial in serials if not any(disk.serial == serial for disk in disks))
    present = [find_disk(name, Storage(serial=serial), disks) for serial in serials if serial not in missing]
    for disk in present:
        if not _is_blank(disk) and mirror_label(disk) != label:
            what = f"holds {describe(disk)}, is no half of '{label}', and is not blank"
            raise ForeignDataError(f"storage.{name}: {disk.device} {what}")
    found = Mirror(
        label,
        members=tuple(disk for disk in present if mirror_label(disk) == label),
        blanks=tuple(disk for disk in present if _is_blank(disk)),
        missing=missing,
    )
    if found.is_new and missing:
        known = "\n".join(f"{disk.device}: serial {disk.serial or '-'}" for disk in disks)
        what = f"expected both disks of a new mirror, and there is none with serial {', '.join(missing)}"
        raise NoDataDiskError(f"storage.{name}: {what}", evidence=known)
    return found


def _is_blank(disk: DataDisk) -> bool:
    return disk.blank and disk.signature is None
