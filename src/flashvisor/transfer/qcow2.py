"""Qcow2 images: whether they lean on other files, and whether all of their data are there. Reads headers and tables.

Owns the format as far as that takes. QEMU reads zeros beyond a file's end, and its check allows the last cluster to be
cut: here it may only be cut where the disk itself ends. Source: docs/interop/qcow2.rst::

    size, notes = check_qcow2(region)
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import DamagedImageError, LeaningImageError, TruncatedImageError, UnknownFormatError
from flashvisor.transfer.formats import SECTOR

if TYPE_CHECKING:
    from flashvisor.transfer.region import Region

# magic, version, backing file's place and length, cluster bits, size, encryption, L1's entries and place,
# refcounts' place and clusters, snapshots and their place
HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
FEATURES, FEATURES_PLACE = struct.Struct(">Q"), 72
VERSIONS = (2, 3)
CORRUPT, DATA_FILE, EXTENDED = 1 << 1, 1 << 2, 1 << 4
CLUSTER_BITS = range(9, 22)
L1_LIMIT = 1 << 22  # entries; QEMU's own
ENTRY = 8  # bytes
OFFSET = 0x00FFFFFFFFFFFE00  # of an entry: where a table or cluster lies
COMPRESSED = 1 << 62


@dataclass(frozen=True)
class _Header:
    size: int
    cluster_bits: int
    l1_size: int
    l1: int
    snapshots: int
    extended: bool


def check_qcow2(region: Region) -> tuple[int, tuple[str, ...]]:
    """Returns the disk's size in bytes, and words on what gets lost.

    Raises:
        LeaningImageError: it has a backing file or an external data file.
        DamagedImageError: it is corrupt or encrypted, or its tables make no sense.
        TruncatedImageError: some of its data are missing.
        UnknownFormatError: it is of another version.
    """
    header = _header(region)
    _check_data(region, header)
    return header.size, (f"{header.snapshots} snapshots inside the image: left out",) if header.snapshots else ()


def _header(region: Region) -> _Header:
    name = region.path.name
    fields = HEADER.unpack(region.need(0, HEADER.size))
    _, version, backing, _, bits, size, crypt, l1_size, l1, _, _, snapshots, _ = fields
    if version not in VERSIONS:
        raise UnknownFormatError(f"{name} is a qcow image of version {version}: expected 2 or 3")
    if backing:
        raise LeaningImageError(f"{name} has a backing file")
    if crypt:
        raise DamagedImageError(f"{name} is encrypted", next_step="Decrypt it where it lies, with qemu-img convert.")
    features = 0
    if version == max(VERSIONS):
        (features,) = FEATURES.unpack(region.need(FEATURES_PLACE, FEATURES.size))
    if features & DATA_FILE:
        raise LeaningImageError(f"{name} has an external data file")
    if features & CORRUPT:
        raise DamagedImageError(
            f"{name} is marked as corrupt", next_step="Try `qemu-img check -r all` on a copy of it."
        )
    if bits not in CLUSTER_BITS or l1_size > L1_LIMIT:
        raise DamagedImageError(f"{name} has a qcow2 header that makes no sense")
    return _Header(size, bits, l1_size, l1, snapshots, bool(features & EXTENDED))


def _check_data(region: Region, header: _Header) -> None:
    cluster = 1 << header.cluster_bits
    step = 2 if header.extended else 1  # the second half of an extended entry is a bitmap
    covered = cluster // (ENTRY * step) * cluster  # bytes of disk for each table
    tables = {
        entry & OFFSET: index
        for index, entry in enumerate(_entries(region, header.l1, header.l1_size))
        if entry & OFFSET and index * covered < header.size
    }
    if len(tables) * cluster > region.size or any(place % cluster for place in tables):
        raise DamagedImageError(f"{region.path.name} has tables that lie over one another")
    for place, index in tables.items():
        entries = _entries(region, place, cluster // ENTRY)[::step]
        left = header.size - index * covered
        end = max(_end(entry, number, left, header.cluster_bits) for number, entry in enumerate(entries))
        if end > region.size:
            raise TruncatedImageError(
                f"{region.path.name} ends too early: it has data up to byte {end}, and {region.size} are there"
            )


def _end(entry: int, number: int, left: int, bits: int) -> int:
    """Where the data of an entry end in the file; 0 if there are none.

    Args:
        entry: Of an L2 table.
        number: Its place there.
        left: Bytes of disk from the table's first cluster on.
        bits: log2 of a cluster's size.
    """
    if entry & COMPRESSED:
        shift = 62 - (bits - 8)
        place = entry & ((1 << shift) - 1)
        sectors = (entry & (COMPRESSED - 1)) >> shift
        # The last sector may be cut: what is compressed ends somewhere in it.
        return place // SECTOR * SECTOR + sectors * SECTOR + 1
    place = entry & OFFSET
    return place + min(1 << bits, left - (number << bits)) if place else 0


def _entries(region: Region, place: int, count: int) -> array[int]:
    numbers = array("Q")
    numbers.frombytes(region.need(place, count * ENTRY))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
