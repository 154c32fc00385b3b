"""Cuts images into chunks whose ends depend on content alone, so that a shifted byte moves no other chunk's end.

Owns where chunks end (ADR 0016). Pure: bytes in, chunks out. Does not own download or writing::

    pieces = list(cut(image))
    download = missing(manifest.chunks, held={chunk.sha256 for chunk, _ in cut(slot)})
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from flashvisor.model.release import CHUNK_LIMIT, Chunk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

CHUNK_LEAST = 4096  # bytes
# In compressed data, two such bytes follow each other once in 16 KiB. Searching for them runs at C's speed.
_END = re.compile(rb"\xf1[\x40-\x43]")


def cut(image: bytes) -> Iterator[tuple[Chunk, bytes]]:
    """Yields an image's chunks in order, each with its bytes; together they are the image."""
    start = 0
    while start < len(image):
        latest = min(start + CHUNK_LIMIT, len(image))
        mark = _END.search(image, start + CHUNK_LEAST, latest)
        end = mark.end() if mark else latest
        piece = image[start:end]
        yield Chunk(hashlib.sha256(piece).hexdigest(), len(piece)), piece
        start = end


def missing(wanted: Iterable[Chunk], held: Collection[str]) -> list[Chunk]:
    """Returns the chunks to download, each once, in the image's order.

    Args:
        wanted: The new image's chunks.
        held: SHA-256 of the chunks at hand.
    """
    return list({chunk.sha256: chunk for chunk in wanted if chunk.sha256 not in held}.values())
