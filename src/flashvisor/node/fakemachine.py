"""A machine in memory: disks that are given, mounts that are directories, networks that are only noted.

For tests, and for running the agent on an ordinary machine (`--fake-driver`).

Example::

    machine = FakeMachine(disks=(blank_disk("data0"),))
    machine.network     # the last NetworkPlan that was put in force
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flashvisor.errors import CommandFailedError, DamagedDiskError, NfsError, NoTpmError
from flashvisor.host.blkid import Signature
from flashvisor.host.efivars import EfiVars
from flashvisor.host.facts import Card, Memory
from flashvisor.host.flashhealth import Health
from flashvisor.host.netlink import Address
from flashvisor.host.volume import Reading
from flashvisor.model.slot import Slot
from flashvisor.node.storage import FILESYSTEM, MEMBER, DataDisk, names_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from flashvisor.flash.update import SlotDevice
    from flashvisor.host.block import DiskFacts
    from flashvisor.host.systemd import Power
    from flashvisor.host.tpm import Quote
    from flashvisor.model.nfsexport import Export
    from flashvisor.model.site import Storage
    from flashvisor.node.mirror import Mirror
    from flashvisor.node.network import NetworkPlan
    from flashvisor.node.probes import Ways
    from flashvisor.node.questions import Question

GIB = 1 << 30  # bytes
CARD = Card(name="eth0", mac="52:54:00:00:00:01", up=True, driver="fake")
ADDRESS = Address(interface="eth0", text="192.0.2.10/24", wide=True)  # RFC 5737


def blank_disk(serial: str, *, size: int = 64 * GIB) -> DataDisk:
    """Returns a disk that nothing was ever written to."""
    device = f"/dev/fake-{serial}"
    return DataDisk(device, frozenset({device}), serial=serial, model="fake", size=size, blank=True)


class FakeAsker:
    """Asks nobody: guests answer when a test says so, or at once if they are `prompt`."""

    def __init__(self, ways: Ways, *, prompt: bool = False) -> None:
        self._heard, self._prompt = ways.heard, prompt
        self.watched: dict[str, Question] = {}

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Does nothing."""

    def answered(self, name: str) -> None:
        """Has a guest answer."""
        self._heard(name, "")

    def silent(self, name: str, trouble: str) -> None:
        """Has a guest not answer any more."""
        self._heard(name, trouble)

    def watch(self, name: str, question: Question) -> None:
        """Notes whom it would ask."""
        self.watched[name] = question
        if self._prompt:
            self.answered(name)

    def forget(self, name: str) -> None:
        """Forgets it again."""
        self.watched.pop(name, None)


class FakeMachine:
    """A server that does all it is told. `total` is its RAM in bytes; devices in `damaged` cannot be mounted."""

    def __init__(self, disks: Iterable[DataDisk] = (), *, total: int = 4 * GIB, uplink: bool = True) -> None:
        self._disks = {disk.device: disk for disk in disks}
        self._memory = Memory(total=total, available=total)
        self._uplink = uplink
        self._mounts: dict[str, str] = {}
        self.volumes: dict[str, Reading] = {}
        self.network: NetworkPlan | None = None
        self.powered: list[Power] = []
        self.formatted: list[str] = []
        self.damaged: set[str] = set()
        self.exports: set[Export] = set()
        self.mirrors: dict[str, frozenset[str]] = {}
        self._arrays: dict[str, DataDisk] = {}
        self.variables = EfiVars(Path("/nonexistent"))
        self.signed: dict[str, bytes] = {}
        self.slots: dict[Slot, SlotDevice] = {}
        self.counted: Callable[[], int] | None = None
        self.plugged: list[DiskFacts] = []
        self.partition: Callable[[Path], None] = lambda _disk: None
        self.tpm: Callable[[bytes, Sequence[int]], Quote] | None = None

    def memory(self) -> Memory:
        """Returns what was given."""
        return self._memory

    def trim_reserve(self) -> None:
        """Does nothing: the machine underneath is not ours."""

    def cards(self) -> tuple[Card, ...]:
        """Returns one card."""
        return (CARD,)

    def addresses(self) -> tuple[Address, ...]:
        """Returns one address, if the uplink is up."""
        return (ADDRESS,) if self._uplink else ()

    def disks(self) -> tuple[DataDisk, ...]:
        """Returns the disks that were given, as they are now."""
        return tuple(self._disks.values())

    def media(self) -> tuple[DiskFacts, ...]:
        """Returns what a test put in."""
        return tuple(self.plugged)

    def wait_for_flash(self, burnt: Path, ready: Callable[[], bool], limit: float) -> bool:
        """Has a test do what the kernel and udev do, and looks once."""
        self.partition(burnt)
        return limit >= 0 and ready()

    def wait_for_disks(self, wishes: Iterable[Storage], limit: float) -> bool:
        """Looks once: nothing appears later."""
        return limit >= 0 and all(any(names_disk(wish, disk) for disk in self.disks()) for wish in wishes)

    def wait_for_uplink(self, limit: float) -> bool:
        """Answers at once: nothing appears later."""
        return limit >= 0 and self._uplink

    def is_mounted(self, place: Path) -> bool:
        """Tells whether `mount` was called."""
        return str(place) in self._mounts

    def format(self, device: Path, label: str) -> None:
        """Puts a file system's signature on a disk."""
        place = self._arrays if str(device) in self._arrays else self._disks
        self.formatted.append(str(device))
        signature = Signature(kind=FILESYSTEM, label=label)
        place[str(device)] = replace(place[str(device)], signature=signature, blank=False)

    def pull(self, device: str) -> DataDisk:
        """Takes a disk out; what was mounted from it stays mounted, and does not work. `put` puts it in again."""
        self.mirrors = {array: halves - {device} for array, halves in self.mirrors.items()}
        for place, mounted in self._mounts.items():
            if mounted == device or self.mirrors.get(mounted) == frozenset():
                self.volumes[place] = Reading(size=0, free=0, present=False)
        return self._disks.pop(device)

    def put(self, disk: DataDisk) -> None:
        """Puts a disk in."""
        self._disks[disk.device] = disk

    def mirror(self, found: Mirror, *, insist: bool) -> DataDisk:
        """Marks the disks as halves; what the mirror holds stays with its name, whichever halves there are."""
        if found.missing and not self.mirrors.get(f"/dev/fake-{found.label}") and not insist:
            raise CommandFailedError("mdadm: assembled from 1 drive - need all 2 to start it")
        both = (*found.members, *found.blanks)
        for disk in both:
            self._disks[disk.device] = replace(disk, signature=Signature(MEMBER, f"any:{found.label}"), blank=False)
        device = f"/dev/fake-{found.label}"
        self.mirrors[device] = frozenset(disk.device for disk in both)
        size = min(disk.size for disk in both)
        fresh = DataDisk(device, frozenset({device}), serial="", model="", size=size, blank=True)
        return self._arrays.setdefault(device, fresh)

    def mount_export(self, export: Export, place: Path) -> None:
        """Makes the directory, if the export is one of `exports`."""
        if export not in self.exports:
            raise NfsError(f"the NFS server {export.host} does not answer")
        place.mkdir(parents=True, exist_ok=True)
        self._mounts[str(place)] = str(export)

    def mount(self, device: Path, place: Path, kind: str = FILESYSTEM) -> None:
        """Makes the directory."""
        del kind
        if str(device) in self.damaged:
            raise DamagedDiskError(f"the file system on {device} is damaged")
        place.mkdir(parents=True, exist_ok=True)
        self._mounts[str(place)] = str(device)
        # What was wrong was wrong with the mount of before.
        self.volumes.pop(str(place), None)

    def unmount(self, place: Path, *, lazy: bool = False) -> None:
        """Forgets the mount; the directory's contents stay, as a disk's do."""
        del lazy
        self._mounts.pop(str(place), None)

    def volume(self, place: Path) -> Reading | None:
        """Returns what a test put into `volumes`; else half of the disk is free, and all is well."""
        device = self._mounts.get(str(place))
        if device is None or str(place) in self.volumes:
            return self.volumes.get(str(place)) if device else None
        disk = self._disks.get(device) or self._arrays.get(device)
        size = disk.size if disk else 64 * GIB
        return Reading(size=size, free=size // 2, missing=2 - len(self.mirrors.get(device, (1, 2))))

    def configure(self, wish: NetworkPlan) -> None:
        """Notes the networks."""
        self.network = wish

    def power(self, action: Power) -> None:
        """Notes what was asked."""
        self.powered.append(action)

    def reachable(self) -> dict[str, str]:
        """Nobody answers."""
        return {}

    def firmware(self) -> EfiVars:
        """Returns `variables`: a test gives them a directory."""
        return self.variables

    def signatures(self) -> dict[str, bytes]:
        """Returns `signed`."""
        return self.signed

    def quote(self, nonce: bytes, pcrs: Sequence[int]) -> Quote:
        """Asks `tpm`: a test may give one."""
        if self.tpm is None:
            raise NoTpmError("a fake machine has no TPM")
        return self.tpm(nonce, pcrs)

    def image(self, slot: Slot) -> bytes:
        """There is none in `slots`: they hold whatever a test put there."""
        del slot
        return b""

    @contextmanager
    def open_slot(self, slot: Slot, *, write: bool = False) -> Iterator[SlotDevice]:
        """Yields what a test put into `slots`."""
        if write and slot is Slot.FACTORY:
            raise RuntimeError("factory is never written after burn")
        yield self.slots[slot]

    def flash_bytes_written(self) -> int | None:
        """Returns `counted`: there is no flash, and no count, unless a test has one."""
        return self.counted() if self.counted else None

    def flash_health(self) -> Health:
        """Nobody knows."""
        return Health("file", "a file does not wear out")
