"""The machine under the agent: disks, mounts, networks, power. The real one, and a fake one of equal rank.

Owns the contract and the real machine, whose every step is a tool's module in host/.

Example::

    machine = RealMachine(state_device)
    machine.configure(plan_network(site, api_port=443, first_card=None))
    machine.mount(Path("/dev/nvme0n1"), Path("/var/lib/flashvisor/storage/main"))
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flashvisor.errors import CommandFailedError, FlashvisorError
from flashvisor.flash.layout import BOOT_FILE, PARTITIONS, SLOTS
from flashvisor.host import (
    blkid,
    block,
    e2fs,
    facts,
    flashhealth,
    mdadm,
    mount,
    mtools,
    netlink,
    networkd,
    nfs,
    nft,
    pe,
    sysctl,
    systemd,
    tpm,
    uevent,
    volume,
)
from flashvisor.host.blkid import Signature
from flashvisor.host.block import BlockFile
from flashvisor.host.efivars import EfiVars
from flashvisor.model.slot import Slot
from flashvisor.model.wiring import PREFIXES
from flashvisor.node.nameserver import Nameserver
from flashvisor.node.network import moves_uplink
from flashvisor.node.storage import FILESYSTEM, MOUNT_OPTIONS, DataDisk, names_disk
from flashvisor.node.zones import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from flashvisor.flash.update import SlotDevice
    from flashvisor.host.block import DiskFacts
    from flashvisor.host.netlink import Address
    from flashvisor.host.systemd import Power
    from flashvisor.model.nfsexport import Export
    from flashvisor.model.site import Storage
    from flashvisor.node.mirror import Mirror
    from flashvisor.node.network import NetworkPlan

log = logging.getLogger(__name__)

MIB = 1 << 20  # bytes
MOVE_LIMIT = 15.0  # seconds for the management network to come up elsewhere
UNREADABLE = "unreadable"  # stands where a signature cannot be told


class Machine(Protocol):
    """What the agent does to the machine it runs on. Calls block; each may be repeated without harm."""

    def memory(self) -> facts.Memory:
        """Returns the bytes of RAM."""

    def trim_reserve(self) -> None:
        """Gives guests the RAM that the kernel keeps free to have whole huge pages at hand."""

    def cards(self) -> tuple[facts.Card, ...]:
        """Returns the physical network cards."""

    def addresses(self) -> tuple[Address, ...]:
        """Returns the addresses in use now."""

    def disks(self) -> tuple[DataDisk, ...]:
        """Returns all whole disks, with what they hold."""

    def media(self) -> tuple[DiskFacts, ...]:
        """Returns all whole disks as the kernel knows them; nothing is read from them."""

    def wait_for_flash(self, burnt: Path, ready: Callable[[], bool], limit: float) -> bool:
        """Waits until `ready` holds, at most `limit` seconds; the partition table of disk `burnt` is new."""

    def wait_for_disks(self, wishes: Iterable[Storage], limit: float) -> bool:
        """Waits until every storage's disk is there, for at most `limit` seconds; tells whether they are."""

    def wait_for_uplink(self, limit: float) -> bool:
        """Waits until a card, or what is on top of it, has an address that reaches far, for at most `limit` seconds."""

    def is_mounted(self, place: Path) -> bool:
        """Tells whether a storage is mounted there."""

    def format(self, device: Path, label: str) -> None:
        """Makes a file system on a blank disk."""

    def mount(self, device: Path, place: Path, kind: str = FILESYSTEM) -> None:
        """Mounts a storage, after checking its file system."""

    def mount_export(self, export: Export, place: Path) -> None:
        """Mounts a storage that an NFS server exports."""

    def mirror(self, found: Mirror, *, insist: bool) -> DataDisk:
        """Has a mirror run on its disks that are there; returns it as one disk.

        With `insist` also on one half alone that may be the older one.
        """

    def unmount(self, place: Path, *, lazy: bool = False) -> None:
        """Unmounts a storage; with `lazy` also one that is in use, because its disk is gone."""

    def volume(self, place: Path) -> volume.Reading | None:
        """Returns how a storage is now; None if nothing is mounted there. One on the network may take its time."""

    def configure(self, wish: NetworkPlan) -> None:
        """Puts networks and firewall in force; what is so already is left alone."""

    def power(self, action: Power) -> None:
        """Reboots or powers off."""

    def reachable(self) -> dict[str, str]:
        """Returns IPv4 to MAC address of the neighbours that answer."""

    def firmware(self) -> EfiVars:
        """Returns the firmware's variables."""

    def signatures(self) -> dict[str, bytes]:
        """Returns the signatures (PE's certificate table) of the image in each slot that holds one, by slot."""

    def quote(self, nonce: bytes, pcrs: Sequence[int]) -> tpm.Quote:
        """Has the TPM sign a nonce and its PCRs (ascending); raises as `host.tpm.quote`."""

    def image(self, slot: Slot) -> bytes:
        """Returns the image in a slot, b"" where there is none."""

    def open_slot(self, slot: Slot, *, write: bool = False) -> AbstractContextManager[SlotDevice]:
        """Opens a slot of flash.

        Raises:
            DeviceError: it is not there.
        """

    def flash_bytes_written(self) -> int | None:
        """Returns the bytes written to the flash device since it appeared, by the kernel's count; None without one."""

    def flash_health(self) -> flashhealth.Health:
        """Returns what the flash device says of its own wear."""


class RealMachine:
    """This server. `flash` is the state ring's partition: the disk that it is on is never a data disk."""

    def __init__(self, flash: Path) -> None:
        self._flash = flash
        self._resolvers: tuple[str, ...] = ()
        self._network: NetworkPlan | None = None
        self._names = Nameserver(lambda: self._resolvers or networkd.resolvers())

    def memory(self) -> facts.Memory:
        """Returns /proc/meminfo's word."""
        return facts.memory()

    def trim_reserve(self) -> None:
        """Sets the kernel's own measure anew (docs/adr/0014)."""
        sysctl.write("vm/min_free_kbytes", str(sysctl.min_free(facts.memory().total)))

    def cards(self) -> tuple[facts.Card, ...]:
        """Returns the cards in /sys."""
        return facts.cards()

    def addresses(self) -> tuple[Address, ...]:
        """Returns the kernel's addresses."""
        return netlink.addresses()

    def disks(self) -> tuple[DataDisk, ...]:
        """Probes every disk but the server's own flash."""
        flash, links = self._flash_disk(), block.links()
        return tuple(
            _unprobed(disk, links, flash=True) if disk.name == flash else _probed(_unprobed(disk, links))
            for disk in block.disks()
        )

    def media(self) -> tuple[DiskFacts, ...]:
        """Asks /sys."""
        return block.disks()

    def wait_for_flash(self, burnt: Path, ready: Callable[[], bool], limit: float) -> bool:
        """Waits for udev's news: it makes the names of the partitions."""
        log.info("waiting for the partitions of %s", burnt)
        return uevent.wait_until(ready, limit)

    def wait_for_disks(self, wishes: Iterable[Storage], limit: float) -> bool:
        """Waits for udev's news."""
        wanted = tuple(wishes)
        return uevent.wait_until(lambda: self._has_all(wanted), limit)

    def wait_for_uplink(self, limit: float) -> bool:
        """Waits for the kernel's news of addresses."""
        return netlink.wait_for_address(lambda all_of_them: bool(self._uplinks(all_of_them)), limit)

    def is_mounted(self, place: Path) -> bool:
        """Asks /proc/self/mountinfo."""
        return mount.is_mounted(place)

    def format(self, device: Path, label: str) -> None:
        """Makes ext4."""
        e2fs.make_ext4(device, label=label)

    def mount(self, device: Path, place: Path, kind: str = FILESYSTEM) -> None:
        """Checks and mounts a file system, unless it is mounted. XFS is checked by the kernel alone."""
        if not mount.is_mounted(place):
            if kind == FILESYSTEM:
                e2fs.check(device)
            mount.mount(device, place, kind=kind, options=MOUNT_OPTIONS[kind])

    def mount_export(self, export: Export, place: Path) -> None:
        """Mounts it, unless it is mounted."""
        if not mount.is_mounted(place):
            nfs.mount_export(export, place)

    def mirror(self, found: Mirror, *, insist: bool) -> DataDisk:
        """Makes or assembles it, unless it runs; takes out what is not named, and in what is not in it.

        A new one holds nothing, whatever would be read from it. The kernel never lets go of the last good half.
        """
        members, blanks = ([Path(disk.device) for disk in disks] for disks in (found.members, found.blanks))
        if found.is_new:
            return replace(_unprobed(block.disk_facts(mdadm.create(found.label, blanks)), {}), blank=True)
        array = mdadm.array_of(members) or mdadm.assemble(members, insist=insist)
        named = {device.name: device for device in (*members, *blanks)}
        for other in mdadm.members(array) - named.keys():
            mdadm.take_out(array, Path("/dev") / other)
        for name in sorted(named.keys() - mdadm.members(array)):
            mdadm.add(array, named[name])
        return _probed(_unprobed(block.disk_facts(array), {}))

    def unmount(self, place: Path, *, lazy: bool = False) -> None:
        """Unmounts, if it is mounted; a mirror under it is ended, so that its disks are free."""
        if mount.is_mounted(place):
            array = Path(mount.parse_mountinfo(mount.MOUNTINFO.read_text())[str(place)])
            mount.unmount(place, lazy=lazy)
            if mdadm.is_array(array):
                # A dead one that somebody still has open ends later, and keeps the mirror from running until then.
                with suppress(*((CommandFailedError,) if lazy else ())):
                    mdadm.stop(array)

    def volume(self, place: Path) -> volume.Reading | None:
        """Asks the kernel."""
        number = mount.device_number(place)
        return volume.look(place, number) if number else None

    def configure(self, wish: NetworkPlan) -> None:
        """Loads the firewall first, so that no new network stands open, then networkd's files, and names last.

        An interface that is to be another one is taken away, and networkd makes it anew in the reload. One that is not
        wished any more goes after that, when networkd no longer wants its ports back.
        """
        nft.load(wish.ruleset)
        if wish.bridges:
            sysctl.write("net/ipv4/ip_forward", "1")
            sysctl.write("net/ipv6/conf/all/forwarding", "1")
        for name in networkd.outdated(wish.units, networkd.UNITS):
            if name in wish.devices:
                netlink.delete_link(name)
        if networkd.install(wish.units, networkd.UNITS):
            networkd.reload(networkd.UNITS)
        for name in facts.interfaces():
            if name.startswith(PREFIXES) and name not in wish.devices:
                netlink.delete_link(name)
        self._resolvers = wish.resolvers
        self._names.serve((LOOPBACK, *wish.zones))
        before, self._network = self._network, wish
        if before and moves_uplink(before, wish):
            # Until then the server may still be reached on its old way, and whoever confirms would prove nothing.
            netlink.wait_for_address(lambda found: self._has_moved(found, before, wish), MOVE_LIMIT)

    def power(self, action: Power) -> None:
        """Asks systemd."""
        systemd.power(action)

    def reachable(self) -> dict[str, str]:
        """Returns the kernel's ARP table."""
        return facts.arp()

    def firmware(self) -> EfiVars:
        """Returns efivarfs."""
        return EfiVars()

    def signatures(self) -> dict[str, bytes]:
        """Takes each image out of its FAT; a slot without a file system holds none."""
        found = {}
        for slot in SLOTS:
            with self._taken_out(slot) as image:
                if image:
                    found[slot] = pe.certificate_table(image)
        return found

    def quote(self, nonce: bytes, pcrs: Sequence[int]) -> tpm.Quote:
        """Asks the TPM."""
        return tpm.quote(nonce, pcrs)

    def image(self, slot: Slot) -> bytes:
        """Takes it out of its FAT."""
        with self._taken_out(slot) as image:
            return image.read_bytes() if image else b""

    @contextmanager
    def _taken_out(self, slot: str) -> Iterator[Path | None]:
        with tempfile.TemporaryDirectory(prefix="slot-") as scratch:
            image = Path(scratch) / "image.efi"
            try:
                mtools.read_file(self._flash.with_name(PARTITIONS[slot].label), BOOT_FILE, image)
            except CommandFailedError:
                yield None
            else:
                yield image

    def open_slot(self, slot: Slot, *, write: bool = False) -> AbstractContextManager[SlotDevice]:
        """Opens its partition. Factory is never opened for writing."""
        if write and slot is Slot.FACTORY:
            raise RuntimeError("factory is never written after burn")
        return BlockFile(self._flash.with_name(PARTITIONS[slot].label), write=write)

    def flash_bytes_written(self) -> int | None:
        """Returns the count of the disk that the state ring is on."""
        disk = self._flash_disk()
        return facts.bytes_written(disk) if disk else None

    def flash_health(self) -> flashhealth.Health:
        """Returns what that disk says."""
        return flashhealth.health(self._flash_disk())

    def _flash_disk(self) -> str:
        return facts.disk_of_partition(self._flash)

    def _has_all(self, wishes: tuple[Storage, ...]) -> bool:
        links = block.links()
        found = [_unprobed(disk, links) for disk in block.disks()]
        return all(any(names_disk(wish, disk) for disk in found) for wish in wishes)

    def _has_moved(self, found: tuple[Address, ...], before: NetworkPlan, wish: NetworkPlan) -> bool:
        """Whether the server has its addresses where the site wants them, and none of before anywhere else."""
        places = {wish.uplink} if wish.uplink else {card.name for card in self.cards()}
        held = self._uplinks(found)
        texts = {address.text for address in held}
        here = all(address.interface in places for address in held)
        return bool(held) and here and texts >= set(wish.fixed) and not texts & (set(before.fixed) - set(wish.fixed))

    def _uplinks(self, found: tuple[Address, ...]) -> list[Address]:
        names = {name for card in self.cards() for name in (card.name, *card.over)}
        return [address for address in found if address.wide and address.interface in names]


def _unprobed(disk: DiskFacts, links: Mapping[str, frozenset[str]], *, flash: bool = False) -> DataDisk:
    """What the kernel says of a disk, before anything is read from it."""
    device = str(disk.path)
    return DataDisk(
        device=device,
        names=links.get(device, frozenset()) | {device},
        serial=disk.serial,
        model=disk.model,
        size=disk.size,
        flash=flash,
    )


def _probed(disk: DataDisk) -> DataDisk:
    """Adds what is on a disk. One that cannot be read is foreign: never blank."""
    path = Path(disk.device)
    try:
        signature = blkid.probe(path)
        return replace(disk, signature=signature, blank=signature is None and _is_blank(path))
    except FlashvisorError as error:
        log.warning("%s: %s", disk.device, error)
        return replace(disk, signature=Signature(kind=UNREADABLE))


def _is_blank(path: Path) -> bool:
    with BlockFile(path) as device:
        ends = (0, max(0, device.size - MIB))
        return not any(any(device.read(start, min(MIB, device.size))) for start in ends)
