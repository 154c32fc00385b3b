"""A storage comes back: its disk was lost and is there again, or its file system met an error and can be checked.

Owns the order, and that only the very storage is taken back: never a blank disk in its place, never foreign data. A
file system that is mounted anew is another one to the processes that had its files open, so guests that wait for it
are ended and started again from their disks, as after a loss of power.

Example::

    left = bring_back("main", site, Lost(StorageState.GONE, waiting=("db",), running=()), hands, driver)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import NoDataDiskError
from flashvisor.model.nfsexport import parse_export
from flashvisor.model.storagestate import StorageState
from flashvisor.node.anew import end_anew, held
from flashvisor.node.carryout import open_disk
from flashvisor.node.mirror import find_mirror
from flashvisor.node.storage import find_disk, kind_of, needs_format, single_disks

if TYPE_CHECKING:
    from flashvisor.guests.driver import Driver
    from flashvisor.model.site import Site, Storage
    from flashvisor.node.carryout import Hands
    from flashvisor.node.storage import DataDisk

RETURNING = frozenset({StorageState.GONE, StorageState.READ_ONLY, StorageState.DEGRADED})


@dataclass(frozen=True)
class Lost:
    """A storage that does not work: how it is, the guests that wait for it, and those on it that run on."""

    state: StorageState
    waiting: tuple[str, ...]
    running: tuple[str, ...]

    @property
    def hindered(self) -> bool:
        """Whether guests that run keep it from being checked: their files are open on the very same device."""
        return self.state is StorageState.READ_ONLY and bool(self.running)


def may_return(name: str, site: Site, lost: Lost, hands: Hands) -> bool:
    """Tells whether a try makes sense. Asks the kernel only, and reads no disk."""
    storage = site.storage[name]
    if storage.nfs is not None:
        # What is mounted comes back by itself when its server does.
        return not hands.machine.is_mounted(hands.settings.storage(name))
    if lost.state is StorageState.DEGRADED:
        return hands.machine.wait_for_disks(single_disks([storage]), 0)
    return not lost.hindered and hands.machine.wait_for_disks([storage], 0)


def bring_back(name: str, site: Site, lost: Lost, hands: Hands, driver: Driver) -> None:
    """Mounts a storage again, after its check. Nobody may change the server meanwhile.

    Raises:
        NoDataDiskError: the disk is not there, or it is a blank one.
        ForeignDataError: it holds something else; it was not touched.
        DamagedDiskError: its file system cannot be repaired; it is not mounted.
        GuestStateError, HypervisorError: a guest that waits for it could not be ended.
        CommandFailedError: it cannot be unmounted or mounted.
        NfsError: its server does not answer, or refuses.
    """
    storage, place = site.storage[name], hands.settings.storage(name)
    if storage.nfs is not None:
        hands.machine.mount_export(parse_export(storage.nfs), place)
        return
    if lost.state is StorageState.DEGRADED:
        open_disk(name, storage, hands)
        return
    _need_the_same(name, storage, hands.machine.disks())
    with held(hands.keeper, lost.waiting):
        for guest in lost.waiting:
            end_anew(hands.keeper, driver, guest)
        # Of a disk that is gone, the old mount cannot be ended while somebody has a file open there.
        hands.machine.unmount(place, lazy=lost.state is StorageState.GONE)
        # Nobody is in a hurry: of a mirror that lost both halves, the older one alone is not taken for the newer.
        disk = open_disk(name, storage, hands, insist=False)
        hands.machine.mount(Path(disk.device), place, kind_of(disk))


def _need_the_same(name: str, storage: Storage, disks: tuple[DataDisk, ...]) -> None:
    if storage.raid1 is not None:
        blanks = find_mirror(name, storage.raid1, disks)
        blank = blanks.blanks[0] if blanks.is_new else None
    else:
        disk = find_disk(name, storage, disks)
        blank = disk if needs_format(name, disk) else None
    if blank:
        raise NoDataDiskError(
            f"storage.{name}: {blank.device} is blank, so it is not the disk that was lost. It was not touched",
            next_step="Put the lost disk back; or apply the site again to take this one in its place.",
        )
