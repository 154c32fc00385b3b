"""Unpacks compressed disk images, and stops a decompression bomb while it goes off, not after.

Owns gzip, xz and zstd, and how much may come out: what comes out must say first how large a disk it is. Zeros become
holes::

    expand(Region.of(Path("disk.img.xz")), Kind.XZ, work / "disk.img", limit=None, on_bytes=advance)
"""

from __future__ import annotations

import lzma
import os
import struct
import zlib
from typing import TYPE_CHECKING

import zstandard

from flashvisor.errors import DamagedImageError, ExplodingImageError, TruncatedImageError, UnknownFormatError
from flashvisor.host.files import GIB, MIB, need_space
from flashvisor.model.size import show_size
from flashvisor.transfer.formats import HEAD, Kind, has_partition_table
from flashvisor.transfer.partitions import described_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO, Protocol

    from flashvisor.transfer.region import Region

    class _Decoder(Protocol):
        @property
        def eof(self) -> bool: ...

        @property
        def unused_data(self) -> bytes: ...

        def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


OUT = 1 * MIB  # bytes that come out at once: all that a bomb gets of memory
XZ_MEMORY = 256 * MIB  # bytes; `xz -9` needs 65 MiB
ZSTD_WINDOW = 128 * MIB  # bytes; `zstd --ultra -22` needs as much
SLACK = 64 * MIB  # bytes by which a disk may be larger than what it says
SPACE_STEP = 64 * MIB  # bytes between two looks at what is free
MARK = 16  # bytes
RESERVE = 1 * GIB  # bytes of the disk that stay free


def expand(source: Region, kind: Kind, target: Path, *, limit: int | None, on_bytes: Callable[[int], None]) -> None:
    """Writes what is in a compressed file.

    Args:
        source: The compressed file.
        kind: GZIP, XZ or ZSTD.
        target: Made anew; bytes of zeros become holes.
        limit: Most bytes that may come out; None: what comes out says it, by its partition table or qcow2 header.
        on_bytes: Hears of compressed bytes that were read.

    Raises:
        ExplodingImageError: more comes out.
        UnknownFormatError: what comes out says no size.
        TruncatedImageError, DamagedImageError: the compressed file is broken.
        NoSpaceError: the disk would become full.
    """
    total = written = looked = 0
    with target.open("wb") as file:
        for chunk in _chunks(source, kind, on_bytes):
            if limit is None:
                limit = _limit(chunk, source.path.name)
            total += len(chunk)
            if total > limit:
                raise ExplodingImageError(
                    f"{source.path.name} ({show_size(source.size)}) goes on beyond the {show_size(limit)} that its "
                    "content can need; it was stopped there"
                )
            if written >= looked:
                looked += SPACE_STEP
                need_space(target.parent, SPACE_STEP + RESERVE, f"what is in {source.path.name}")
            if chunk.count(0) == len(chunk):
                file.seek(len(chunk), os.SEEK_CUR)
            else:
                written += file.write(chunk)
        file.truncate(total)
        file.flush()
        os.fsync(file.fileno())


def _limit(head: bytes, name: str) -> int:
    if head.startswith(b"QFI\xfb"):
        (size,) = struct.unpack_from(">Q", head.ljust(HEAD, b"\0"), 24)
        return int(size) + int(size) // 8 + SLACK
    described = described_size(head.ljust(HEAD, b"\0")) if has_partition_table(head) else None
    if described is None:
        raise UnknownFormatError(
            f"what is in {name} is neither a disk with a partition table nor a qcow2 image",
            evidence=f"it begins with {head[:16].hex(' ')}",
            next_step="Unpack it by hand, and import what comes out.",
        )
    # A disk may be larger than its partitions say, but not by any factor.
    return 2 * described + SLACK


def _chunks(source: Region, kind: Kind, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """Yields what comes out, OUT bytes each but the last."""
    pieces = _zstd(source, on_bytes) if kind is Kind.ZSTD else _streams(source, kind, on_bytes)
    waiting = bytearray()
    try:
        for piece in pieces:
            waiting += piece
            while len(waiting) >= OUT:
                yield bytes(waiting[:OUT])
                del waiting[:OUT]
    except EOFError as error:
        raise TruncatedImageError(f"{source.path.name} ends in the middle of its compressed data") from error
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DamagedImageError(f"{source.path.name} is broken {kind} data", evidence=str(error)) from error
    if waiting:
        yield bytes(waiting)


def _streams(source: Region, kind: Kind, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """Reads gzip and xz: one stream or several, one after the other (RFC 1952, 2.2; xz-file-format, 2)."""
    decoder: _Decoder | None = None
    for data in source.chunks():
        left = data
        while left:
            if decoder is None:
                left = left.lstrip(b"\0")  # padding between streams
                decoder = _decoder(kind) if left else None
            if decoder is not None:
                yield from _drain(decoder, left)
                left = decoder.unused_data
                decoder = None if decoder.eof else decoder
        on_bytes(len(data))
    if decoder is not None:
        raise EOFError


def _decoder(kind: Kind) -> _Decoder:
    # wbits 31: gzip's own header and checksum (zlib.h, inflateInit2).
    return zlib.decompressobj(wbits=31) if kind is Kind.GZIP else lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)


def _drain(decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    """Yields all that comes out of `data`, at most OUT bytes at once."""
    full = True
    while not decoder.eof and (data or full):
        piece = decoder.decompress(data, OUT)
        full = len(piece) == OUT  # there may be more inside, also when all of the data have been read
        data = getattr(decoder, "unconsumed_tail", b"")  # zlib's; lzma keeps what it has not read
        yield piece


def _zstd(source: Region, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """Reads zstd: frames, one after the other (RFC 8878, 3).

    The library does not tell of a last frame that is cut short. So another frame follows: it comes out only if those
    before it were whole.
    """
    mark = os.urandom(MARK)
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    with source.path.open("rb") as file:
        file.seek(source.offset)
        joined = _Joined(file, source.size, zstandard.ZstdCompressor().compress(mark), on_bytes)
        tail = b""
        with decoder.stream_reader(joined, read_across_frames=True) as reader:  # type: ignore[arg-type]
            while piece := reader.read(OUT):
                tail += piece
                yield tail[:-MARK]
                tail = tail[-MARK:]
    if tail != mark:
        raise EOFError


class _Joined:
    """A stretch of a file, and then some bytes."""

    def __init__(self, file: BinaryIO, size: int, after: bytes, on_bytes: Callable[[int], None]) -> None:
        self._file, self._left, self._after, self._on_bytes = file, size, after, on_bytes

    def read(self, size: int) -> bytes:
        """Returns the next bytes, at most `size`."""
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        self._on_bytes(len(data))
        if not data:
            data, self._after = self._after[:size], self._after[size:]
        return data
