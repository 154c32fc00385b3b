"""Block devices: what the kernel knows of them, and reading and writing them (or a file in their place).

Does not own what they hold (blkid.py, flash/). Facts come from /sys and /proc/self/mountinfo and are read only::

    disk = disk_facts(Path("/dev/sdb"))
    disk.removable, disk.serial, disk.in_use
    with BlockFile(Path("/dev/disk/by-partlabel/fv-state"), write=True) as device:
        device.write(0, data)
        device.flush()
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import DeviceError, DeviceFaultyError
from flashvisor.host.mount import parse_mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

ROOT = Path("/")
BLKRRPART = 0x125F  # linux/fs.h: read the partition table again
SECTOR = 512  # bytes; the unit of /sys/block/*/size whatever the device's own is
# Hidden halves of an eMMC, optical drives and floppies are no disks for us.
NO_DISK = re.compile(r"mmcblk\d+(boot\d+|rpmb|gp\d+)|sr\d+|fd\d+")


@dataclass(frozen=True)
class DiskFacts:
    """A block device, or a file given in its place.

    Attributes:
        path: Under /dev, with links resolved.
        name: The kernel's name ("sda").
        is_block: Whether it is a block device at all.
        whole: False for a partition.
        size: Bytes.
        removable: What the device says of itself; many USB sticks say no.
        serial: "" if it has none.
        model: "" if it has none.
        in_use: In plain words what uses it or a part of it: mounts, holders (LVM, RAID, dm-crypt).
    """

    path: Path
    name: str
    is_block: bool
    whole: bool
    size: int
    removable: bool
    serial: str
    model: str
    in_use: tuple[str, ...]


def disks(root: Path = ROOT) -> tuple[DiskFacts, ...]:
    """Returns all whole disks with hardware behind them and a medium in them, by name."""
    places = sorted((root / "sys/block").glob("*"))
    real = [
        place.name
        for place in places
        if (place / "device").exists() and _text(place / "hidden") != "1" and not NO_DISK.fullmatch(place.name)
    ]
    return tuple(disk for name in real if (disk := _facts(root, Path("/dev") / name)).size)


def links(root: Path = ROOT) -> dict[str, frozenset[str]]:
    """Returns the names that udev gave each device, under /dev/disk, by the device's own path."""
    found: dict[str, set[str]] = {}
    for link in (root / "dev/disk").glob("*/*"):
        found.setdefault(str(link.resolve()), set()).add(str(link))
    return {device: frozenset(names) for device, names in found.items()}


def identity(path: Path) -> str:
    """Returns what tells the device or file at a path from any other that was or will be there; "" if none is."""
    try:
        status = path.stat()
    except OSError:
        return ""
    if not stat.S_ISBLK(status.st_mode):
        return f"file {status.st_dev}:{status.st_ino}"
    # Numbers are used again; the kernel never gives the same diskseq twice (Documentation/ABI/stable/sysfs-block).
    place = (ROOT / "sys/class/block" / path.resolve().name).resolve()
    disk = place.parent if (place / "partition").exists() else place
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)} {_text(disk / 'diskseq')}"


def disk_facts(path: Path, root: Path = ROOT) -> DiskFacts:
    """Returns what the kernel knows of a device. Reads nothing from the device itself.

    Args:
        path: A device or a link to one; a regular file is told from it by `is_block`.
        root: Where /sys and /proc stand (for tests).

    Raises:
        DeviceError: there is nothing of that name.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DeviceError(f"{path} cannot be examined: {error.strerror}") from error
    real = path.resolve()
    if stat.S_ISBLK(status.st_mode):
        return _facts(root, real)
    return DiskFacts(
        real,
        real.name,
        is_block=False,
        whole=True,
        size=status.st_size,
        removable=False,
        serial="",
        model="",
        in_use=(),
    )


def _facts(root: Path, device: Path) -> DiskFacts:
    name = device.name
    place = root / "sys/class/block" / name
    whole = not (place / "partition").exists()
    disk = place if whole else place.resolve().parent
    return DiskFacts(
        device,
        name,
        is_block=True,
        whole=whole,
        size=int(_text(place / "size") or 0) * SECTOR,
        removable=_text(disk / "removable") == "1",
        serial=_serial(disk),
        model=_text(disk / "device/model") or _text(disk / "device/name"),
        in_use=tuple(_users(root, place)),
    )


def _serial(disk: Path) -> str:
    """Returns the serial number: virtio's and NVMe's own, SCSI's page 0x80, or the USB device's around it."""
    own = _text(disk / "serial") or _text(disk / "device/serial")
    if own:
        return own
    page = _bytes(disk / "device/vpd_pg80")[4:]  # SPC-5, 7.7.19: four bytes of header
    if text := page.decode("ascii", "replace").strip("\0 \n"):
        return text
    for parent in (disk / "device").resolve().parents:
        if (parent / "idVendor").exists():  # a USB device (Documentation/ABI/stable/sysfs-bus-usb)
            return _text(parent / "serial")
    return ""


def _users(root: Path, place: Path) -> Iterator[str]:
    """Yields what uses a device, its partitions, or what is stacked on them."""
    sources = parse_mountinfo(_text(root / "proc/self/mountinfo"))
    swaps = [line.split()[0] for line in _text(root / "proc/swaps").splitlines()[1:]]
    pieces = [place, *sorted(piece.parent for piece in place.glob("*/partition"))]
    for piece in pieces:
        node = Path("/dev") / piece.name
        for point, source in sources.items():
            if source.startswith("/dev/") and Path(source).resolve() == node:
                yield f"{node} is mounted on {point}"
        if str(node) in swaps:
            yield f"{node} is swap space"
        for holder in sorted((piece / "holders").glob("*")):
            yield f"{node} is held by {holder.name}"
            yield from _users(root, root / "sys/class/block" / holder.name)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _text(path: Path) -> str:
    """A pseudo file's text without its end of line; "" if it cannot be read."""
    return _bytes(path).decode(errors="replace").strip("\0 \n")


class BlockFile:
    """A FlashDevice on a block device or a regular file, or on a window of it. A context manager.

    A block device is opened exclusively for writing: the kernel refuses while anything of it is mounted or held.

    Args:
        path: The device or file; it must exist.
        write: Whether to open for writing, too.
        offset: Where the window begins, in bytes.
        length: The window's bytes; to the end if not given.

    Raises:
        DeviceError: (on entering) it cannot be opened, is in use, or is smaller than the window.
    """

    def __init__(self, path: Path, *, write: bool = False, offset: int = 0, length: int | None = None) -> None:
        self._path, self._write, self._offset, self._length = path, write, offset, length
        self._handle = -1
        self._size = 0

    def __enter__(self) -> BlockFile:
        flags = os.O_CLOEXEC | (os.O_RDWR if self._write else os.O_RDONLY)
        try:
            # O_EXCL without O_CREAT: for block devices only, see open(2).
            exclusive = os.O_EXCL if self._write and self._path.is_block_device() else 0
            self._handle = os.open(self._path, flags | exclusive)
            end = os.lseek(self._handle, 0, os.SEEK_END)
        except OSError as error:
            self.close()
            busy = "it is mounted or in use" if error.errno == errno.EBUSY else error.strerror
            raise DeviceError(f"{self._path} cannot be opened: {busy}. Nothing was written") from error
        self._size = end - self._offset if self._length is None else self._length
        if self._size < 0 or self._offset + self._size > end:
            self.close()
            raise DeviceError(f"{self._path} has {end} bytes; expected {self._offset + max(0, self._size)} or more")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of the window."""
        return self._size

    @property
    def present(self) -> bool:
        """Whether the device is still in the machine: one that was pulled stays open, and is not."""
        status = os.fstat(self._handle)
        if not stat.S_ISBLK(status.st_mode):
            return status.st_nlink > 0
        return (ROOT / f"sys/dev/block/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}").exists()

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset` of the window.

        Raises:
            DeviceFaultyError: the device does not give them.
        """
        self._check(offset, length)
        data = bytearray()
        while len(data) < length:
            try:
                piece = os.pread(self._handle, length - len(data), self._offset + offset + len(data))
            except OSError as error:
                raise DeviceFaultyError(
                    f"reading {self._path} at byte {offset + len(data)}: {error.strerror}"
                ) from error
            if not piece:
                raise DeviceFaultyError(f"{self._path} ends at byte {self._offset + offset + len(data)}")
            data += piece
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Writes all of `data` at `offset` of the window.

        Raises:
            DeviceFaultyError: the device does not take it.
        """
        self._check(offset, len(data))
        left = memoryview(data)
        while left:
            at = self._offset + offset + len(data) - len(left)
            try:
                left = left[os.pwrite(self._handle, left, at) :]
            except OSError as error:
                raise DeviceFaultyError(f"writing {self._path} at byte {at}: {error.strerror}") from error

    def flush(self) -> None:
        """Returns when all is on the medium (fsync(2)).

        Raises:
            DeviceFaultyError: the device failed to keep it.
        """
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise DeviceFaultyError(f"{self._path} did not keep what was written: {error.strerror}") from error

    def forget_cache(self) -> None:
        """Makes the next read come from the medium, not from memory (posix_fadvise(2))."""
        os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_DONTNEED)

    def reread_table(self) -> None:
        """Makes the kernel read a device's partition table anew, unless a partition is in use; files have none."""
        with suppress(OSError):
            fcntl.ioctl(self._handle, BLKRRPART)

    def close(self) -> None:
        """Closes the device before the `with` block ends."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _check(self, offset: int, length: int) -> None:
        if self._handle < 0:
            raise RuntimeError("BlockFile is used outside its `with` block")
        if offset < 0 or offset + length > self._size:
            raise ValueError(f"{length} bytes at {offset} are outside the {self._size} bytes of {self._path}")
