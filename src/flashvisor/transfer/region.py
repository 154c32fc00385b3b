"""A stretch of a file: a whole file, or a member of an archive, read where it lies.

Example::

    region = Region.of(Path("disk.vmdk"))
    region.read(0, 4)             # b"KDMV"
    region.part(1024, 512)        # a stretch of the stretch
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import TruncatedImageError, UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1 << 20  # bytes read at once


@dataclass(frozen=True)
class Region:
    """`size` bytes of a file from `offset` on."""

    path: Path
    offset: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Region:
        """Returns a whole file.

        Raises:
            UnreadableFileError: it is not there, no plain file, or cannot be read.
        """
        if path.exists() and not path.is_file():
            raise UnreadableFileError(f"{path} is not a file")
        try:
            with path.open("rb"):
                return cls(path, 0, path.stat().st_size)
        except OSError as error:
            raise UnreadableFileError(f"{path} cannot be read", evidence=str(error)) from error

    def read(self, start: int, length: int) -> bytes:
        """Returns up to `length` bytes from `start` on; fewer where the region ends."""
        length = min(length, self.size - start)
        if start < 0 or length <= 0:
            return b""
        with self.path.open("rb") as file:
            file.seek(self.offset + start)
            return file.read(length)

    def need(self, start: int, length: int) -> bytes:
        """Returns exactly `length` bytes from `start` on.

        Raises:
            TruncatedImageError: the region ends before.
        """
        data = self.read(start, length)
        if len(data) < length:
            raise TruncatedImageError(
                f"{self.path.name} ends too early: expected {length} bytes at {start}, got {len(data)}"
            )
        return data

    def part(self, start: int, length: int) -> Region:
        """Returns a stretch of this one.

        Raises:
            TruncatedImageError: this one ends before.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise TruncatedImageError(
                f"{self.path.name} ends too early: expected {start + length} bytes, got {self.size}"
            )
        return Region(self.path, self.offset + start, length)

    def chunks(self) -> Iterator[bytes]:
        """Yields all bytes in pieces."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.size
            while left and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
