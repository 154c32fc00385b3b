"""Headers of disk images: whole ones give their size, and each way of lying has its error."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from flashvisor.errors import (
    DamagedImageError,
    ExplodingImageError,
    FlashvisorError,
    LeaningImageError,
    SplitImageError,
    TruncatedImageError,
    UnknownFormatError,
)
from flashvisor.transfer.formats import Kind
from flashvisor.transfer.inspect import inspect
from flashvisor.transfer.region import Region

if TYPE_CHECKING:
    from pathlib import Path

SECTOR = 512
DISK = 8 << 20  # bytes


CLUSTER = 65536


def qcow2(
    *,
    version: int = 3,
    backing: int = 0,
    crypt: int = 0,
    features: int = 0,
    size: int = DISK,
    snaps: int = 0,
    bits: int = 16,
    l1: int = CLUSTER,
    entries: tuple[int, ...] = (3 * CLUSTER,),
    length: int = 4 * CLUSTER,
) -> bytes:
    """Header, L1 table, L2 table, data, a cluster each; `entries` are the L2 table's."""
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", version, backing, 4, bits, size, crypt, 1, l1, 0, 1, snaps, 0)
    image = bytearray(4 * CLUSTER)
    image[:80] = head + struct.pack(">Q", features)
    struct.pack_into(">Q", image, CLUSTER, 2 * CLUSTER | 1 << 63)
    struct.pack_into(f">{len(entries)}Q", image, 2 * CLUSTER, *entries)
    return bytes(image[:length])


def packed(place: int, sectors: int) -> int:
    """An L2 entry of a compressed cluster: `sectors` more than one."""
    return 1 << 62 | sectors << 54 | place


def vhd(*, kind: int = 3, size: int = DISK, spoil: bool = False, data: int = 0) -> bytes:
    footer = struct.pack(">8sIIQI4sI4sQQII", b"conectix", 2, 0x10000, 512, 0, b"test", 0, b"none", size, size, 0, kind)
    footer += struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
    footer = footer.ljust(SECTOR, b"\0")
    if spoil:
        footer = footer[:48] + b"\xff" + footer[49:]
    return (footer if kind != 2 else b"") + bytes(data) + footer


def vdi(*, kind: int = 1, allocated: int = 1, blocks: int = 1, size: int = DISK) -> bytes:
    head = bytearray(0x200)
    head[0x40:0x44] = b"\x7f\x10\xda\xbe"
    struct.pack_into("<I", head, 0x4C, kind)
    struct.pack_into("<II", head, 0x154, 0x200, 0x400)
    struct.pack_into("<QIIII", head, 0x170, size, 1 << 20, 0, 8, allocated)
    return bytes(head) + bytes(0x200) + bytes(blocks << 20)


def vhdx(*, parent: bool = False, size: int = DISK, metadata: bool = True) -> bytes:
    image = bytearray(1 << 20)
    image[:8] = b"vhdxfile"
    guid = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le if metadata else bytes(16)
    struct.pack_into("<4sIII16sQII", image, 192 << 10, b"regi", 0, 1, 0, guid, 512 << 10, 65536, 1)
    items = (("caa16737-fa36-4d43-b3b6-33f0aa44e76b", 65536), ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", 65544))
    struct.pack_into("<8sHH", image, 512 << 10, b"metadata", 0, len(items))
    for index, (name, place) in enumerate(items):
        struct.pack_into("<16sII", image, (512 << 10) + 32 + 32 * index, UUID(name).bytes_le, place, 8)
    struct.pack_into("<IIQ", image, (512 << 10) + 65536, 32 << 20, 2 if parent else 0, size)
    return bytes(image)


DESCRIPTOR = """\
# Disk DescriptorFile
version=1
CID=12345678
parentCID={parent}
createType="{kind}"

# Extent description
{extents}
"""
SPARSE = 'RW 16384 SPARSE "disk.vmdk"'


def vmdk(  # noqa: PLR0917
    parent: str = "ffffffff",
    extents: str = SPARSE,
    capacity: int = DISK // SECTOR,
    grain: int = 128,
    last: int = 200,
    length: int | None = None,
    footer: bool = False,
    descriptor: int = 1,
) -> bytes:
    """A sparse extent whose last grain lies at sector `last`; cut to `length` sectors."""

    def header(directory: int) -> bytes:
        fields = (
            b"KDMV",
            1,
            3,
            capacity,
            grain,
            descriptor,
            20 if descriptor else 0,
            512,
            0,
            directory,
            128,
            0,
            b"\n \r\n",
            0,
        )
        return struct.pack("<4sIIQQQQIQQQB4sH", *fields)

    image = bytearray((last + grain) * SECTOR)
    text = DESCRIPTOR.format(parent=parent, kind="monolithicSparse", extents=extents).encode()
    image[SECTOR : SECTOR + len(text)] = text
    struct.pack_into("<I", image, 30 * SECTOR, 31)  # directory: one table
    struct.pack_into("<II", image, 31 * SECTOR, 60, last)
    image[:79] = header((1 << 64) - 1 if footer else 30)
    data = bytes(image[: None if length is None else length * SECTOR])
    return data + (header(30).ljust(SECTOR, b"\0") + bytes(SECTOR) if footer else b"")


WHOLE = [
    (Kind.QCOW2, qcow2()),
    (Kind.QCOW2, qcow2(version=2)),
    (Kind.QCOW2, qcow2(entries=())),
    (Kind.QCOW2, qcow2(entries=(3 * CLUSTER | 1 << 63, 0, 1))),
    (Kind.QCOW2, qcow2(entries=(packed(3 * CLUSTER + 100, 1),), length=3 * CLUSTER + 600)),
    (Kind.QCOW2, qcow2(features=16, entries=(3 * CLUSTER, 1 << 61))),
    (Kind.VHD, vhd()),
    (Kind.VHD, vhd(kind=2, data=DISK)),
    (Kind.VDI, vdi()),
    (Kind.VHDX, vhdx()),
    (Kind.VMDK, vmdk()),
    (Kind.VMDK, vmdk(footer=True)),
]
HUGE = 1 << 50


@pytest.mark.parametrize(("kind", "content"), WHOLE, ids=range(len(WHOLE)))
def test_a_whole_image_gives_its_size(tmp_path: Path, kind: Kind, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert inspect(Region.of(tmp_path / "x"), kind).virtual_size == DISK


REFUSED: list[tuple[Kind, bytes, type[FlashvisorError], str]] = [
    (Kind.QCOW2, qcow2(backing=1024), LeaningImageError, "backing file"),
    (Kind.QCOW2, qcow2(features=4), LeaningImageError, "data file"),
    (Kind.QCOW2, qcow2(features=2), DamagedImageError, "corrupt"),
    (Kind.QCOW2, qcow2(crypt=2), DamagedImageError, "encrypted"),
    (Kind.QCOW2, qcow2(version=1), UnknownFormatError, "version 1"),
    (Kind.QCOW2, qcow2(size=HUGE), ExplodingImageError, "1024 TiB"),
    (Kind.QCOW2, qcow2(size=0), DamagedImageError, "0 bytes"),
    (Kind.QCOW2, qcow2()[:40], TruncatedImageError, "too early"),
    (Kind.QCOW2, qcow2(length=4 * CLUSTER - 1), TruncatedImageError, "too early"),
    (Kind.QCOW2, qcow2(entries=(0, 0, 3 * CLUSTER), length=3 * CLUSTER), TruncatedImageError, "too early"),
    (
        Kind.QCOW2,
        qcow2(entries=(packed(3 * CLUSTER + 100, 1),), length=3 * CLUSTER + 512),
        TruncatedImageError,
        "early",
    ),
    (Kind.QCOW2, qcow2(length=2 * CLUSTER + 9), TruncatedImageError, "too early"),
    (Kind.QCOW2, qcow2(bits=40), DamagedImageError, "no sense"),
    (Kind.QCOW2, qcow2(l1=2 * CLUSTER, entries=(512,)), DamagedImageError, "over one another"),
    (Kind.VHD, vhd(kind=4), LeaningImageError, "differencing"),
    (Kind.VHD, vhd(kind=7), UnknownFormatError, "type 7"),
    (Kind.VHD, vhd(spoil=True), DamagedImageError, "checksum"),
    (Kind.VHD, vhd()[:-10], TruncatedImageError, "copy of its header"),
    (Kind.VHD, vhd(kind=2, data=DISK - SECTOR), TruncatedImageError, "too early"),
    (Kind.VDI, vdi(kind=4), LeaningImageError, "differencing"),
    (Kind.VDI, vdi(allocated=2), TruncatedImageError, "too early"),
    (Kind.VHDX, vhdx(parent=True), LeaningImageError, "differencing"),
    (Kind.VHDX, vhdx(metadata=False), DamagedImageError, "metadata"),
    (Kind.VHDX, vhdx()[: 200 << 10], TruncatedImageError, "too early"),
    (Kind.VHDX, vhdx(size=HUGE), ExplodingImageError, "1024 TiB"),
    (Kind.VMDK, vmdk(parent="0badcafe"), LeaningImageError, "snapshot"),
    (Kind.VMDK, vmdk(extents='RW 16384 FLAT "/etc/passwd" 0'), SplitImageError, "other files"),
    (Kind.VMDK, vmdk(extents=f"{SPARSE}\n{SPARSE}"), SplitImageError, "other files"),
    (Kind.VMDK, vmdk(capacity=0), SplitImageError, "names other files"),
    (Kind.VMDK, vmdk(descriptor=0), SplitImageError, "one part"),
    (Kind.VMDK, vmdk(grain=0), DamagedImageError, "no sense"),
    (Kind.VMDK, vmdk(grain=1, capacity=1 << 37), DamagedImageError, "no sense"),
    (Kind.VMDK, vmdk(length=201), TruncatedImageError, "too early"),
    (Kind.VMDK, vmdk(length=20), TruncatedImageError, "too early"),
    (Kind.VMDK, vmdk(footer=True)[:-SECTOR], TruncatedImageError, "second header"),
    (
        Kind.VMDK_TEXT,
        DESCRIPTOR.format(parent="ffffffff", kind="x", extents='RW 9 VMFS "a"').encode(),
        SplitImageError,
        "other files",
    ),
    (
        Kind.VMDK_TEXT,
        DESCRIPTOR.format(parent="ffffffff", kind="x", extents=SPARSE).encode(),
        SplitImageError,
        "without",
    ),
]


@pytest.mark.parametrize(("kind", "content", "error", "word"), REFUSED, ids=range(len(REFUSED)))
def test_each_lie_has_its_error(
    tmp_path: Path, kind: Kind, content: bytes, error: type[FlashvisorError], word: str
) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(error, match=word):
        inspect(Region.of(tmp_path / "x"), kind)


def test_a_raw_disk_must_reach_its_partitions_end(tmp_path: Path) -> None:
    sector = bytearray(SECTOR)
    struct.pack_into("<4xB3xII", sector, 446, 0x83, 1, 9)
    sector[510:] = b"\x55\xaa"
    path = tmp_path / "x"
    path.write_bytes(bytes(sector) + bytes(9 * SECTOR))
    assert inspect(Region.of(path), Kind.RAW).virtual_size == 10 * SECTOR
    path.write_bytes(bytes(sector) + bytes(8 * SECTOR))
    with pytest.raises(TruncatedImageError, match="partition table"):
        inspect(Region.of(path), Kind.RAW)


def test_a_last_cluster_may_end_where_the_disk_does(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(qcow2(size=1000, length=3 * CLUSTER + 1000))
    assert inspect(Region.of(tmp_path / "x"), Kind.QCOW2).virtual_size == 1000
    (tmp_path / "x").write_bytes(qcow2(size=1000, length=3 * CLUSTER + 999))
    with pytest.raises(TruncatedImageError):
        inspect(Region.of(tmp_path / "x"), Kind.QCOW2)


def test_snapshots_inside_are_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(qcow2(snaps=2))
    assert inspect(Region.of(tmp_path / "x"), Kind.QCOW2).notes == ("2 snapshots inside the image: left out",)


def test_an_image_inside_an_archive_ends_where_its_member_does(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"before" + vhd() + b"after")
    region = Region(tmp_path / "x", 6, len(vhd()))
    assert inspect(region, Kind.VHD).virtual_size == DISK
