"""From one foreign disk image to one qcow2 file: recognised, checked, unpacked if need be, converted in a sandbox.

Owns how much a conversion may read, write and compute. Does not own where the result goes (importer.py)::

    facts = convert_disk(Disk(region, "web.vmdk"), work / "unpacked", work / "half" / "0.qcow2", watch)
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import (
    CommandFailedError,
    DamagedImageError,
    ExplodingImageError,
    LeaningImageError,
    SandboxError,
    UnknownFormatError,
    UnreadableFileError,
)
from flashvisor.host import jailed_qemu_img as qemu_img
from flashvisor.host.bubblewrap import Limits
from flashvisor.host.files import GIB, MIB, bytes_on_disk, need_space, sync
from flashvisor.model.size import show_size
from flashvisor.transfer.expand import expand
from flashvisor.transfer.formats import COMPRESSED, DISKS, SECTOR, Kind, detect
from flashvisor.transfer.inspect import DiskFacts, inspect
from flashvisor.transfer.region import Region
from flashvisor.transfer.watch import percents

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.errors import FlashvisorError
    from flashvisor.transfer.watch import Watch

DRIVERS = {Kind.QCOW2: "qcow2", Kind.RAW: "raw", Kind.VMDK: "vmdk", Kind.VHD: "vpc", Kind.VHDX: "vhdx", Kind.VDI: "vdi"}
CHECKED = frozenset({Kind.QCOW2, Kind.VDI, Kind.VHDX, Kind.VMDK})  # formats for which qemu-img has a check
MEMORY = 4 * GIB  # bytes of address space
SLACK = 64 * MIB  # bytes: tables of a small image, and rounding
GROWTH = 4  # what is written may be as many times what was read: no format packs data so much better than ours
TABLES = 1024  # bytes of disk for each byte of qcow2's tables, with room
CPU_BASE = 1800  # seconds
READ_RATE, WORK_RATE = 2_500_000, 50_000_000  # bytes of file, and of disk, for each second more
PACKED = 100  # bytes of disk that a byte of file is believed to stand for, as far as time goes
ROUNDING = 100  # a disk may be larger than declared by one part in so many, and SLACK
UNCLEAN = "needs to be replayed"  # qemu-img of a VHDX whose log was not emptied


@dataclass(frozen=True)
class Disk:
    """A foreign disk image: where it lies, its name for messages, its compression, its size in bytes if declared."""

    region: Region
    name: str
    compressed: bool = False
    capacity: int | None = None


def convert_disk(disk: Disk, unpacked: Path, target: Path, watch: Watch) -> DiskFacts:
    """Converts a disk image.

    Args:
        disk: What.
        unpacked: Where a compressed one is unpacked to; the caller removes it.
        target: The qcow2 file; made anew, the only file in its directory.
        watch: Hears of progress.

    Returns:
        What the image was; `virtual_size` as QEMU reads it.

    Raises:
        UnknownFormatError, SplitImageError, LeaningImageError, TruncatedImageError, DamagedImageError: it is not taken.
        ExplodingImageError: it becomes larger than it should.
        NoSpaceError: it does not fit.
        SandboxError, UnreadableFileError: the sandbox cannot be set up, or may not read it.
    """
    region = _unpacked(disk, unpacked, watch)
    kind = detect(region)
    if kind not in DISKS:
        raise UnknownFormatError(
            f"{disk.name} holds {kind}: expected a disk image", next_step="Unpack it by hand first."
        )
    facts = inspect(region, kind)
    declared = disk.capacity
    if declared is not None and facts.virtual_size > declared + declared // ROUNDING + SLACK:
        raise ExplodingImageError(
            f"{disk.name} is a disk of {show_size(facts.virtual_size)}: {show_size(declared)} were declared"
        )
    whole = region.offset == 0 and region.size == region.path.stat().st_size
    source = qemu_img.Source(region.path, DRIVERS[kind], region.offset, None if whole else region.size)
    limits = _limits(region.size, facts.virtual_size)
    size = _examine(source, kind, limits, disk.name)
    if size >= facts.virtual_size + SECTOR:  # QEMU counts in these, and rounds up
        raise DamagedImageError(
            f"{disk.name} does not say one size", evidence=f"{facts.virtual_size} bytes, and to QEMU {size}"
        )
    need_space(target.parent, min(region.size, bytes_on_disk(region.path)) // 2, f"the image of {disk.name}")
    with watch(f"converting {disk.name} ({kind}, {show_size(size)})", size) as advance:
        try:
            qemu_img.convert(source, target, qemu_img.QCOW2, limits, on_percent=percents(advance, size))
        except CommandFailedError as error:
            raise _damaged(disk.name, error) from error
    sync(target)
    return DiskFacts(kind, size, facts.notes)


def _unpacked(disk: Disk, target: Path, watch: Watch) -> Region:
    if not disk.compressed:
        return disk.region
    kind = detect(disk.region)
    if kind not in COMPRESSED:
        raise DamagedImageError(f"{disk.name} should be compressed, and is {kind}")
    limit = None if disk.capacity is None else disk.capacity + disk.capacity // ROUNDING + SLACK
    with watch(f"unpacking {disk.name} ({kind})", disk.region.size) as advance:
        expand(disk.region, kind, target, limit=limit, on_bytes=advance)
    return Region.of(target)


def _limits(size: int, virtual: int) -> Limits:
    return Limits(memory=MEMORY, file_size=GROWTH * size + virtual // TABLES + SLACK, cpu=cpu_limit(size, virtual))


def cpu_limit(size: int, virtual: int) -> int:
    """Returns the seconds of CPU time for a conversion: far more than an honest image needs on a slow machine.

    Args:
        size: Bytes of its file.
        virtual: Bytes of the disk.
    """
    return CPU_BASE + size // READ_RATE + min(virtual, PACKED * size) // WORK_RATE


def _examine(source: qemu_img.Source, kind: Kind, limits: Limits, name: str) -> int:
    """Asks QEMU what the image is, as a second opinion; returns the disk's size in bytes."""
    try:
        info = qemu_img.info(source, limits)
        found = qemu_img.check(source, limits) if kind in CHECKED else qemu_img.CheckResult()
    except CommandFailedError as error:
        raise _damaged(name, error) from error
    if info.leans_on() is not None:
        raise LeaningImageError(f"{name} reads from another file", evidence=str(info.leans_on()))
    if found.corruptions or found.errors:
        raise DamagedImageError(
            f"{name} is corrupt", evidence=f"qemu-img check: {found.corruptions} corruptions, {found.errors} errors"
        )
    return info.virtual_size


def _damaged(name: str, error: CommandFailedError) -> FlashvisorError:
    lines = error.evidence.splitlines()[1:]  # after the command itself
    said = "\n".join(lines) or error.what
    if lines and lines[0].startswith("bwrap: "):
        return SandboxError(f"{name} was not converted", evidence=said)
    if os.strerror(errno.EACCES) in said:
        return UnreadableFileError(
            f"{name} cannot be read in the sandbox, where root is nobody special",
            evidence=said,
            next_step="Make it readable for all, or run the command as its owner.",
        )
    if UNCLEAN in said:
        return DamagedImageError(
            f"{name} was not closed cleanly: its log holds writes that its data lack",
            next_step="Start and shut down its guest where it came from, or let `qemu-img check -r all` mend a copy.",
        )
    return DamagedImageError(f"QEMU cannot read {name}", evidence=said)
