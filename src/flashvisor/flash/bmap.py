"""The block map beside flash.img, for bmaptool: which blocks must be written, and their digests. Pure.

Format: bmap 2.0 (bmap-tools, docs of BmapCreate.py). A block that is not in the map is not written, so its old content
stays: harmless in the free clusters of a FAT, but an old owner's records in the state ring would come to life again.
So the map holds all of the ring, all tables, and every block that is not zero::

    text = write_map(image_size, read_blocks)
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from flashvisor.flash.layout import ALIGNMENT, PARTITIONS, SLOTS, STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BLOCK = 4096  # bytes
_NO_CHECKSUM = "0" * 64  # stands in the file while its own checksum is taken


def always_mapped(size: int) -> list[tuple[int, int]]:
    """Returns the ranges, in bytes (first, end), that are written even where they are zero, for an image of `size`."""
    slots = [(PARTITIONS[name].start, PARTITIONS[name].start + ALIGNMENT) for name in SLOTS]  # FAT's tables
    return [(0, ALIGNMENT), *slots, (STATE.start, size)]


def mapped_ranges(size: int, read: Callable[[int, int], bytes]) -> list[tuple[int, int]]:
    """Returns the mapped blocks as ranges of block numbers, both ends included.

    Args:
        size: Bytes of the image.
        read: Returns bytes of the image, by offset and length.
    """
    always = always_mapped(size)
    blocks = (number for start in range(0, size, ALIGNMENT) for number in _mapped(start, size, read, always))
    return _ranges(blocks)


def write_map(size: int, read: Callable[[int, int], bytes]) -> str:
    """Returns the text of the .bmap file; arguments as for `mapped_ranges`."""
    ranges = mapped_ranges(size, read)
    rows = [
        f'    <Range chksum="{hashlib.sha256(_range_bytes(size, read, first, last)).hexdigest()}"> '
        f"{first if first == last else f'{first}-{last}'} </Range>"
        for first, last in ranges
    ]
    count = sum(last - first + 1 for first, last in ranges)
    text = "\n".join(
        [
            '<?xml version="1.0" ?>',
            '<bmap version="2.0">',
            f"  <ImageSize> {size} </ImageSize>",
            f"  <BlockSize> {BLOCK} </BlockSize>",
            f"  <BlocksCount> {-(-size // BLOCK)} </BlocksCount>",
            f"  <MappedBlocksCount> {count} </MappedBlocksCount>",
            "  <ChecksumType> sha256 </ChecksumType>",
            f"  <BmapFileChecksum> {_NO_CHECKSUM} </BmapFileChecksum>",
            "  <BlockMap>",
            *rows,
            "  </BlockMap>",
            "</bmap>",
            "",
        ]
    )
    return text.replace(_NO_CHECKSUM, hashlib.sha256(text.encode()).hexdigest(), 1)


def _mapped(start: int, size: int, read: Callable[[int, int], bytes], always: list[tuple[int, int]]) -> Iterable[int]:
    data = read(start, min(ALIGNMENT, size - start))
    for offset in range(0, len(data), BLOCK):
        at, block = start + offset, data[offset : offset + BLOCK]
        if any(first <= at < end for first, end in always) or block.count(0) != len(block):
            yield at // BLOCK


def _ranges(blocks: Iterable[int]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for number in blocks:
        if result and result[-1][1] == number - 1:
            result[-1] = (result[-1][0], number)
        else:
            result.append((number, number))
    return result


def _range_bytes(size: int, read: Callable[[int, int], bytes], first: int, last: int) -> bytes:
    return read(first * BLOCK, min((last + 1) * BLOCK, size) - first * BLOCK)
