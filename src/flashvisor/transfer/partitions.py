"""How large a raw disk must be by its own partition table. Pure: the first bytes in, a number out.

Example::

    described_size(head)      # 8_589_934_592: what follows its last partition's end, or its second GPT
"""

from __future__ import annotations

import struct

from flashvisor.transfer.formats import GPT_MAGIC, GPT_PLACES, SECTOR, has_partition_table

ALTERNATE = 32  # bytes into the GPT header: where its copy lies, at the disk's end (UEFI 2.10, table 5.5)
ENTRIES, ENTRY_SIZE, ENTRY_COUNT = 446, 16, 4  # of an MBR (UEFI 2.10, 5.2.1)
PROTECTIVE = 0xEE


def described_size(head: bytes) -> int | None:
    """Returns the bytes that a disk has at least by its partition table; None if it has none.

    Args:
        head: Its first bytes, 4,608 or more.
    """
    for place in GPT_PLACES:
        if head[place : place + len(GPT_MAGIC)] == GPT_MAGIC:
            (last,) = struct.unpack_from("<Q", head, place + ALTERNATE)
            return int((last + 1) * place)
    if not has_partition_table(head):
        return None
    ends = [SECTOR]
    for index in range(ENTRY_COUNT):
        kind, start, length = struct.unpack_from("<4xB3xII", head, ENTRIES + index * ENTRY_SIZE)
        if kind not in (0, PROTECTIVE):
            ends.append((start + length) * SECTOR)
    return max(ends)
