"""Data disks: which one a site means, and whether it may be taken. Pure.

A disk is taken only if the site names it and it is blank, or if it is ours already by its label. Owns that rule.
Does not own mke2fs or mount (machine.py)::

    disk = find_disk("main", site.storage["main"], disks)
    if needs_format("main", disk): ...
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import ForeignDataError, NoDataDiskError
from flashvisor.model.names import guest_storage
from flashvisor.model.site import Storage
from flashvisor.model.size import show_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flashvisor.host.blkid import Signature
    from flashvisor.model.site import Site

FILESYSTEM = "ext4"  # what blank disks get
MEMBER = "linux_raid_member"  # libblkid's word for a half of a mirror
XFS = "xfs"  # taken where its owner gave it our label; the server carries no tool that makes or mends it
MOUNT_OPTIONS = {
    FILESYSTEM: "noatime,nodev,nosuid,noexec,errors=remount-ro",
    XFS: "noatime,nodev,nosuid,noexec",
}
LABEL_PREFIX = "fv-"
LABEL_LIMIT = 16  # bytes, ext4's s_volume_name


@dataclass(frozen=True)
class DataDisk:
    """A whole disk as found: names under /dev that lead to it, and what it holds.

    `blank` is true when nothing is recognised on it and its first and last MiB are zeros; size in bytes.
    """

    device: str
    names: frozenset[str]
    serial: str
    model: str
    size: int
    signature: Signature | None = None
    blank: bool = False
    flash: bool = False


def storage_label(name: str) -> str:
    """Returns the label that marks a disk as this storage; long names end in a hash, to fit into ext4's 16 bytes."""
    label = f"{LABEL_PREFIX}{name}"
    if len(label) <= LABEL_LIMIT:
        return label
    # A hash after an underscore, which cannot stand in a name: the two forms never meet.
    return f"{label[:9]}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def mirror_label(disk: DataDisk) -> str:
    """Returns the name of the mirror of ours that a disk is a half of; "" if it is none."""
    signature = disk.signature
    if signature is None or signature.kind != MEMBER:
        return ""
    # mdadm writes HOST:NAME where a host is known.
    label = signature.label.rpartition(":")[2]
    return label if label.startswith(LABEL_PREFIX) else ""


def single_disks(storages: Iterable[Storage]) -> tuple[Storage, ...]:
    """Returns a wish for each disk that storages name: two for a mirror, none for what is on the network."""
    found: list[Storage] = []
    for each in storages:
        if each.raid1 is not None:
            found += [Storage(serial=serial) for serial in each.raid1]
        elif each.nfs is None:
            found.append(each)
    return tuple(found)


def kind_of(disk: DataDisk) -> str:
    """Returns which file system to mount a disk as; a blank one has just got ours."""
    return disk.signature.kind if disk.signature else FILESYSTEM


def on_disks(site: Site) -> dict[str, Storage]:
    """Returns the storages that are disks of the server; the others are on the network."""
    return {name: storage for name, storage in site.storage.items() if storage.nfs is None}


def find_disk(name: str, wish: Storage, disks: Sequence[DataDisk]) -> DataDisk:
    """Returns the disk that a storage names by serial number or device.

    Raises:
        NoDataDiskError: the server has no such disk, or more than one, or it is the server's own flash.
    """
    word = f"serial {wish.serial}" if wish.serial is not None else str(wish.device)
    found = [disk for disk in disks if names_disk(wish, disk)]
    if len(found) == 1 and not found[0].flash:
        return found[0]
    if found and found[0].flash:
        raise NoDataDiskError(f"storage.{name} names the server's own flash ({word})")
    known = "\n".join(f"{disk.device}: serial {disk.serial or '-'}, {show_size(disk.size)}" for disk in disks)
    got = f"{len(found)} disks have it" if found else "no disk has it"
    raise NoDataDiskError(f"storage.{name}: expected one disk with {word}, and {got}", evidence=known)


def needs_format(name: str, disk: DataDisk) -> bool:
    """Tells whether the disk has to be formatted before it can be mounted.

    Returns:
        False if it is this storage already, True if it is blank.

    Raises:
        ForeignDataError: it holds something else. It must not be touched.
    """
    label = storage_label(name)
    signature = disk.signature
    if signature is not None and signature.kind in MOUNT_OPTIONS and signature.label == label:
        return False
    if signature is None and disk.blank:
        return True
    raise ForeignDataError(f"storage.{name}: {disk.device} holds {describe(disk)}, not '{label}', and is not blank")


def describe(disk: DataDisk) -> str:
    """Returns what is on a disk, in plain words."""
    signature = disk.signature
    if signature is None:
        return "nothing" if disk.blank else "data of an unknown kind"
    return f"{signature.kind} '{signature.label}'" if signature.label else signature.kind


def use_of(disk: DataDisk) -> str:
    """Returns a disk's use in the words of api.types.Disk."""
    if disk.flash:
        return "flash"
    signature = disk.signature
    if signature is None:
        return "empty" if disk.blank else "foreign data"
    if half := mirror_label(disk):
        return f"storage {half.removeprefix(LABEL_PREFIX)}, half of a mirror"
    ours = signature.kind in MOUNT_OPTIONS and signature.label.startswith(LABEL_PREFIX)
    return f"storage {signature.label.removeprefix(LABEL_PREFIX)}" if ours else "foreign data"


def storages_of(site: Site, guest: str, places: Mapping[str, str], path: str = "") -> frozenset[str]:
    """Returns the storages that a guest cannot do without.

    Args:
        site: A site that has the guest.
        guest: Its name.
        places: Where the storages are mounted, by name.
        path: A file of the guest that failed; the storage that it is on counts as well.
    """
    own = guest_storage(site, site.guest[guest])
    failed = {name for name, place in places.items() if path.startswith(f"{place}/")}
    return frozenset(failed | (places.keys() & {own}))


def names_disk(wish: Storage, disk: DataDisk) -> bool:
    """Tells whether a storage means a disk, by its serial number or one of its names under /dev."""
    if wish.raid1 is not None:
        return disk.serial in wish.raid1
    if wish.serial is not None:
        return disk.serial == wish.serial
    return wish.device in disk.names
