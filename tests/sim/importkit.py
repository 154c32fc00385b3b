"""What tests of imports share: a qemu-img that copies, progress that nobody sees, a record, small disks."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flashvisor.host.jailed_qemu_img import CheckResult
from flashvisor.host.qemu_img import ImageInfo
from flashvisor.transfer.draft import DiskDraft, GuestDraft, ImportedImage, ImportRecord, NicDraft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.host.bubblewrap import Limits
    from flashvisor.host.jailed_qemu_img import Source

NOW = datetime(2026, 11, 24, 12, 0, 5, tzinfo=UTC)
SECTOR = 512


@contextmanager
def unseen(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Progress that nobody sees."""
    del title, total
    yield lambda _: None


def raw_disk(text: bytes, size: int = 64 * SECTOR) -> bytes:
    """A disk with a partition table that reaches to its end, and a text in its middle."""
    disk = bytearray(size)
    struct.pack_into("<4xB3xII", disk, 446, 0x83, 1, size // SECTOR - 1)
    disk[510:512] = b"\x55\xaa"
    disk[SECTOR : SECTOR + len(text)] = text
    return bytes(disk)


@dataclass
class Copier:
    """Stands where host/jailed_qemu_img.py does: the result is the source's own bytes. `fail` ends the next calls."""

    converted: list[str] = field(default_factory=list)
    fail: list[BaseException] = field(default_factory=list)
    virtual_size: int = 64 * SECTOR

    def info(self, source: Source, limits: Limits) -> ImageInfo:
        """Returns what every image is."""
        del limits
        return ImageInfo(kind=source.kind, virtual_size=self.virtual_size)

    def check(self, source: Source, limits: Limits) -> CheckResult:
        """Finds nothing."""
        del source, limits
        return CheckResult()

    def convert(
        self, source: Source, target: Path, to: object, limits: Limits, *, on_percent: Callable[[float], None]
    ) -> None:
        """Copies."""
        del to, limits
        on_percent(50.0)
        data = source.path.read_bytes()[source.offset : source.offset + (source.size or source.path.stat().st_size)]
        target.write_bytes(data[:SECTOR])
        if self.fail:
            raise self.fail.pop(0)
        target.write_bytes(data)
        self.converted.append(source.path.name)
        on_percent(100.0)


def image(name: str, file: str) -> ImportedImage:
    """An image of the library."""
    return ImportedImage(
        name=name, file=file, member="one.vmdk", format="vmdk", virtual_size=8 << 30, size=4, sha256="ab" * 32
    )


def record(name: str = "web", key: str = "0" * 12) -> ImportRecord:
    """An import of an appliance with two disks and two cards."""
    images = (image(name, f"{name}-{key}.qcow2"), image(f"{name}-disk2", f"{name}-{key}-2.qcow2"))
    guest = GuestDraft(
        name=name,
        cpus=2,
        memory=1536 << 20,
        firmware="uefi",
        profile="linux",
        disks=(
            DiskDraft(image=name, bus="scsi"),
            DiskDraft(image=f"{name}-disk2", bus="sata", size=20 << 30),
            DiskDraft(image=None, bus="virtio", size=1 << 30),
        ),
        nics=(
            NicDraft(network="VM Network", model="vmxnet3", mac="00:50:56:ab:cd:ef"),
            NicDraft(network="inside", model="virtio"),
        ),
        notes=("sound card: left out",),
    )
    return ImportRecord(
        name=f"{name}-{key}",
        source="web.ova",
        source_format="ova",
        source_sha256=key + "0" * 52,
        imported="2026-11-24T12:00:05+00:00",
        images=images,
        guests=(guest,),
        notes=("a license that its vendor wants accepted: left out",),
    )
