"""Exports a guest's disks as an appliance (OVA): descriptor, manifest, and disks as streamOptimized VMDK.

Owns the archive. Does not own where the disks come from: they are qcow2 files on this machine by now::

    write_ova(guest, {"web": Path("web.qcow2")}, Path("web.ova"), watch)
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import CommandFailedError, DamagedImageError
from flashvisor.host import jailed_qemu_img as qemu_img
from flashvisor.host.bubblewrap import Limits
from flashvisor.host.files import bytes_on_disk, need_space, replacing, sha256_file
from flashvisor.transfer.conversion import MEMORY, SLACK, cpu_limit
from flashvisor.transfer.formats import Kind
from flashvisor.transfer.inspect import inspect
from flashvisor.transfer.ovfwriter import DiskFile, write_ovf
from flashvisor.transfer.region import Region
from flashvisor.transfer.watch import percents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flashvisor.transfer.draft import GuestDraft
    from flashvisor.transfer.watch import Watch

USTAR_LIMIT = 8 << 30  # bytes that a member may have in the form that DSP0243 asks for
GRAIN_TABLES = 64  # bytes of disk for each byte of VMDK's tables, with room


def write_ova(guest: GuestDraft, disks: Mapping[str, Path], target: Path, watch: Watch) -> None:
    """Writes an appliance; an older file of the name is replaced once the new one is whole.

    Args:
        guest: What it holds: each of its disks names one of `disks` as its image, or is empty (`image` None).
        disks: qcow2 files, complete in themselves.
        target: The archive.
        watch: Hears of progress.

    Raises:
        LeaningImageError, DamagedImageError, TruncatedImageError: a disk is not complete.
        NoSpaceError: twice the disks' bytes are not free.
    """
    sizes = {name: inspect(Region.of(path), Kind.QCOW2).virtual_size for name, path in disks.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    # The descriptor stands first and knows all sizes: the disks are made beside the archive, then copied into it.
    need_space(target.parent, 2 * sum(bytes_on_disk(path) for path in disks.values()), f"the appliance {target.name}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as work:
        made: dict[str, Path] = {}
        for index, (name, path) in enumerate(disks.items()):
            place = Path(work) / str(index)  # a directory of its own is all that one conversion can write to
            place.mkdir()
            made[name] = place / f"{guest.name}-disk{index + 1}.vmdk"
            _convert(path, sizes[name], made[name], watch)
        files = [
            DiskFile(None, 0, disk.size or 0)
            if disk.image is None
            else DiskFile(made[disk.image].name, made[disk.image].stat().st_size, sizes[disk.image])
            for disk in guest.disks
        ]
        with replacing(target) as half:
            _archive(half, guest.name, write_ovf(guest, files), list(made.values()), watch)


def _convert(path: Path, size: int, target: Path, watch: Watch) -> None:
    # What guests repeat packs better in our format than in theirs: the whole disk is the limit, not a factor.
    limits = Limits(
        memory=MEMORY, file_size=size + size // GRAIN_TABLES + SLACK, cpu=cpu_limit(path.stat().st_size, size)
    )
    with watch(f"converting {path.name}", size) as advance:
        source = qemu_img.Source(path, "qcow2")
        try:
            qemu_img.convert(source, target, qemu_img.STREAM_VMDK, limits, on_percent=percents(advance, size))
        except CommandFailedError as error:
            raise DamagedImageError(f"QEMU cannot read {path.name}", evidence=error.evidence) from error


def _archive(path: Path, name: str, descriptor: bytes, disks: Sequence[Path], watch: Watch) -> None:
    """Writes descriptor, manifest and disks in the order of DSP0243 2.1, 5.3, all of them as old as the epoch."""
    total = sum(disk.stat().st_size for disk in disks)
    with watch(f"writing {name}.ova", 2 * total) as advance:
        lines = [f"SHA256({name}.ovf)= {hashlib.sha256(descriptor).hexdigest()}\n"]
        lines += [f"SHA256({disk.name})= {sha256_file(disk, advance)}\n" for disk in disks]
        large = any(disk.stat().st_size >= USTAR_LIMIT for disk in disks)
        form = tarfile.GNU_FORMAT if large else tarfile.USTAR_FORMAT
        with tarfile.open(path, "w", format=form) as tar:
            for member, data in ((f"{name}.ovf", descriptor), (f"{name}.mf", "".join(lines).encode())):
                tar.addfile(_header(member, len(data)), io.BytesIO(data))
            for disk in disks:
                with disk.open("rb") as file:
                    tar.addfile(_header(disk.name, disk.stat().st_size), file)
                advance(disk.stat().st_size)


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o644
    return header
