"""What a disk image says of itself, checked before QEMU sees it: whole, unencrypted, leaning on no other file.

Owns headers of VHD, VHDX and VDI; qcow2.py and vmdk.py have the others. Reads headers and tables, no data::

    facts = inspect(region, Kind.VHD)
    facts.virtual_size, facts.notes
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from flashvisor.errors import (
    DamagedImageError,
    ExplodingImageError,
    LeaningImageError,
    SplitImageError,
    TruncatedImageError,
    UnknownFormatError,
)
from flashvisor.model.size import show_size
from flashvisor.transfer.formats import HEAD, SECTOR, VHD_COOKIE, Kind
from flashvisor.transfer.partitions import described_size
from flashvisor.transfer.qcow2 import check_qcow2
from flashvisor.transfer.vmdk import check_descriptor, check_vmdk

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.transfer.region import Region

MAX_VIRTUAL = 1 << 46  # bytes: 64 TiB, the most that VHDX and VMDK can be
VHD = struct.Struct(">8sIIQI4sI4sQQIII")  # VHD 1.0: footer up to the checksum
VHD_FIXED, VHD_DYNAMIC, VHD_DIFFERENCING = 2, 3, 4
VDI_TYPE, VDI_BLOCKS = 0x4C, 0x154
VDI_DIFFERENCING = 4
VHDX_REGIONS = 192 << 10  # bytes (MS-VHDX 2.2.3)
VHDX_METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
VHDX_PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
VHDX_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
VHDX_HAS_PARENT = 1 << 1
VHDX_ENTRIES = 2048  # most that a table may have


@dataclass(frozen=True)
class DiskFacts:
    """What an image is: bytes that a guest sees, and words on what gets lost."""

    kind: Kind
    virtual_size: int
    notes: tuple[str, ...] = ()


def inspect(region: Region, kind: Kind) -> DiskFacts:
    """Returns what an image says of itself.

    Raises:
        SplitImageError: its data lie in several files.
        LeaningImageError: it reads from another file.
        TruncatedImageError: it ends before its data do.
        DamagedImageError: it is broken or encrypted.
        ExplodingImageError: the disk would be larger than any.
    """
    size, notes = READERS[kind](region)
    if size > MAX_VIRTUAL:
        raise ExplodingImageError(f"{region.path.name} claims to be a disk of {show_size(size)}")
    if size == 0:
        raise DamagedImageError(f"{region.path.name} is a disk of 0 bytes")
    return DiskFacts(kind, size, notes)


def _raw(region: Region) -> tuple[int, tuple[str, ...]]:
    described = described_size(region.read(0, HEAD)) or 0
    if described > region.size:
        raise TruncatedImageError(
            f"{region.path.name} ends too early: its partition table describes {show_size(described)}, "
            f"and {show_size(region.size)} are there"
        )
    return region.size, ()


def _vhd(region: Region) -> tuple[int, tuple[str, ...]]:
    name = region.path.name
    raw = region.read(region.size - SECTOR, SECTOR)
    if not raw.startswith(VHD_COOKIE):
        raise TruncatedImageError(f"{name} ends too early: a VHD closes with a copy of its header")
    fields = VHD.unpack_from(raw)
    size, kind, checksum = fields[9], fields[11], fields[12]
    place = VHD.size - 4
    if checksum != ~(sum(raw) - sum(raw[place : place + 4])) & 0xFFFFFFFF:
        raise DamagedImageError(f"{name} has a VHD footer with a wrong checksum")
    if kind == VHD_DIFFERENCING:
        raise LeaningImageError(f"{name} is a differencing VHD: it holds only what differs from a parent")
    if kind not in (VHD_FIXED, VHD_DYNAMIC):
        raise UnknownFormatError(f"{name} is a VHD of type {kind}: expected fixed (2) or dynamic (3)")
    if kind == VHD_FIXED:
        region.part(0, size + SECTOR)
    return size, ()


def _vdi(region: Region) -> tuple[int, tuple[str, ...]]:
    name = region.path.name
    (kind,) = struct.unpack("<I", region.need(VDI_TYPE, 4))
    if kind == VDI_DIFFERENCING:
        raise LeaningImageError(f"{name} is a differencing VDI: it holds only what differs from a parent")
    head = region.need(VDI_BLOCKS, 0x188 - VDI_BLOCKS)
    data, size, block, extra, allocated = (
        *struct.unpack_from("<I", head, 4),
        *struct.unpack_from("<QII", head, 0x170 - VDI_BLOCKS),
        *struct.unpack_from("<I", head, 0x184 - VDI_BLOCKS),
    )
    region.part(data, allocated * (block + extra))
    return size, ()


def _vhdx(region: Region) -> tuple[int, tuple[str, ...]]:
    name = region.path.name
    metadata = _vhdx_table(region, VHDX_REGIONS, b"regi", header=16, entry="<16sQII").get(VHDX_METADATA)
    if metadata is None:
        raise DamagedImageError(f"{name} is a VHDX without metadata")
    place = metadata[0]
    items = _vhdx_table(region, place, b"metadata", header=32, entry="<16sIIII")
    if not {VHDX_PARAMETERS, VHDX_SIZE} <= set(items):
        raise DamagedImageError(f"{name} is a VHDX without its size")
    _, bits = struct.unpack("<II", region.need(place + items[VHDX_PARAMETERS][0], 8))
    if bits & VHDX_HAS_PARENT:
        raise LeaningImageError(f"{name} is a differencing VHDX: it holds only what differs from a parent")
    (size,) = struct.unpack("<Q", region.need(place + items[VHDX_SIZE][0], 8))
    return size, ()


def _vhdx_table(region: Region, place: int, magic: bytes, *, header: int, entry: str) -> dict[UUID, tuple[int, ...]]:
    """A VHDX table (MS-VHDX 2.2.3, 2.6.1): GUID to the fields after it."""
    head = region.need(place, header)
    if not head.startswith(magic):
        raise DamagedImageError(f"{region.path.name} is a VHDX without its table '{magic.decode()}'")
    (count,) = struct.unpack_from("<I", head, 8) if magic == b"regi" else struct.unpack_from("<H", head, 10)
    form = struct.Struct(entry)
    data = region.need(place + header, min(count, VHDX_ENTRIES) * form.size)
    return {UUID(bytes_le=guid): tuple(rest) for guid, *rest in form.iter_unpack(data)}


def _vmdk(region: Region) -> tuple[int, tuple[str, ...]]:
    return check_vmdk(region), ()


def _vmdk_text(region: Region) -> tuple[int, tuple[str, ...]]:
    check_descriptor(region.read(0, HEAD), region.path.name)
    raise SplitImageError(f"{region.path.name} is a VMDK descriptor without the data that it describes")


READERS: dict[Kind, Callable[[Region], tuple[int, tuple[str, ...]]]] = {
    Kind.QCOW2: check_qcow2,
    Kind.RAW: _raw,
    Kind.VHD: _vhd,
    Kind.VDI: _vdi,
    Kind.VHDX: _vhdx,
    Kind.VMDK: _vmdk,
    Kind.VMDK_TEXT: _vmdk_text,
}
