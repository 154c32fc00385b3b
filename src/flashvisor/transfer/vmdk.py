"""VMDK files: whether all data lie in this one file, and all of them are there. Reads headers and tables, no data.

Owns the sparse extent's format. Source: VMware, Virtual Disk Format 5.0::

    check_vmdk(region)        # bytes of the disk, or SplitImageError, LeaningImageError, TruncatedImageError
"""

from __future__ import annotations

import re
import struct
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import DamagedImageError, LeaningImageError, SplitImageError, TruncatedImageError
from flashvisor.transfer.formats import SECTOR

if TYPE_CHECKING:
    from flashvisor.transfer.region import Region

# magic, version, flags, capacity, grain, descriptor's place and size, entries in a table, second and first directory,
# overhead, unclean, line ends, compression
HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
MAGIC = b"KDMV"
COMPRESSED = 1 << 16  # flag
AT_END = (1 << 64) - 1  # the directory's place stands in a second header, at the file's end
FOOTER = 1024  # bytes before the end: second header, then the end-of-stream marker
TABLE_ENTRIES = 512
MAX_GRAIN = 2048  # sectors
MAX_CAPACITY = 1 << 37  # sectors: 64 TiB
MAX_TABLES = 1 << 22  # entries of a directory: twice those of the largest disk with the grains that everyone writes
DESCRIPTOR_LIMIT = 1 << 20  # bytes
GRAIN_MARKER = struct.Struct("<QI")  # first sector, bytes of compressed data
NO_PARENT = "ffffffff"
EXTENT = re.compile(r'^(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)(?:\s+"([^"]*)")?', re.MULTILINE)
PARENT = re.compile(r"^\s*parentCID\s*=\s*(\w+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """What a sparse extent's header says; places and sizes in sectors."""

    flags: int
    capacity: int
    grain: int
    descriptor: int
    descriptor_size: int
    directory: int


def check_vmdk(region: Region) -> int:
    """Returns the disk's size in bytes.

    Raises:
        SplitImageError: it is a part of a split disk, or names other files.
        LeaningImageError: it is a snapshot.
        DamagedImageError: its header makes no sense.
        TruncatedImageError: some of its data are missing.
    """
    header = _header(region, 0)
    if header.descriptor == 0 or header.descriptor_size == 0:
        raise SplitImageError(f"{region.path.name} is one part of a split VMDK: it has no descriptor of its own")
    if header.capacity == 0:
        raise SplitImageError(f"{region.path.name} is a VMDK that holds no data but names other files")
    length = min(header.descriptor_size * SECTOR, DESCRIPTOR_LIMIT)
    check_descriptor(region.need(header.descriptor * SECTOR, length).rstrip(b"\0"), region.path.name)
    if header.directory == AT_END:
        # The writer of a stream knows only in the end where the directory lies.
        header = _header(region, region.size - FOOTER)
    _check_grains(region, header)
    return header.capacity * SECTOR


def check_descriptor(text: bytes, name: str) -> None:
    """Checks a VMDK's descriptor: one sparse extent, which is this file, and no parent.

    Raises:
        SplitImageError: it names other files.
        LeaningImageError: it has a parent.
    """
    words = text.decode("utf-8", errors="replace")
    parent = PARENT.search(words)
    if parent and parent[1].lower() != NO_PARENT:
        raise LeaningImageError(f"{name} is a snapshot: it holds only what differs from a parent", evidence=parent[0])
    extents = EXTENT.findall(words)
    if len(extents) != 1 or extents[0][0].upper() != "SPARSE":
        shown = "\n".join(f"{kind} {file}" for kind, file in extents[:5])
        raise SplitImageError(f"{name} is a VMDK whose data lie in other files", evidence=shown)


def _header(region: Region, place: int) -> Header:
    raw = HEADER.unpack(region.need(place, HEADER.size))
    magic, _, flags, capacity, grain, descriptor, descriptor_size, entries, _, directory = raw[:10]
    if magic != MAGIC:
        raise TruncatedImageError(f"{region.path.name} ends too early: a streamed VMDK closes with a second header")
    if entries != TABLE_ENTRIES or not 0 < grain <= MAX_GRAIN or capacity > MAX_CAPACITY:
        raise DamagedImageError(
            f"{region.path.name} has a VMDK header that makes no sense",
            evidence=f"{entries} entries in a table, grains of {grain} sectors, {capacity} sectors",
        )
    return Header(flags, capacity, grain, descriptor, descriptor_size, directory)


def _check_grains(region: Region, header: Header) -> None:
    """Finds the grain that lies last in the file, and checks that it is whole: QEMU reads zeros beyond the end."""
    tables = -(-header.capacity // (header.grain * TABLE_ENTRIES))
    if tables > MAX_TABLES:
        raise DamagedImageError(
            f"{region.path.name} has a VMDK header that makes no sense",
            evidence=f"{tables} tables for {header.capacity} sectors in grains of {header.grain}",
        )
    last = 0
    for table in set(_numbers(region, header.directory, tables)) - {0}:
        last = max(last, *_numbers(region, table, TABLE_ENTRIES))
    if last <= 1:  # 0: not there; 1: zeros
        return
    if header.flags & COMPRESSED:
        _, size = GRAIN_MARKER.unpack(region.need(last * SECTOR, GRAIN_MARKER.size))
        region.part(last * SECTOR + GRAIN_MARKER.size, size)
    else:
        region.part(last * SECTOR, header.grain * SECTOR)


def _numbers(region: Region, sector: int, count: int) -> array[int]:
    numbers = array("I")
    numbers.frombytes(region.need(sector * SECTOR, count * numbers.itemsize))
    return numbers
