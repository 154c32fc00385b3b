"""A release comes to the server: verified, then put together from what is here already and what the source has.

Owns the image file while it grows. Does not own where bytes come from (node/sources.py), what is refused
(node/preflight.py), or flash::

    release = drive(verify(memory, clocks, wish), source.fetch)
    intake = assemble(release.manifest, directory, held=slots.held(), source=source, tell=tell)
    intake.image        # whole, with the length and SHA-256 that were signed

The file is named after the image's SHA-256 and lies in RAM. Each chunk is checked and stands at its places at once, so
that after an error, or a new start of the agent, the same call goes on where this one stopped. What earlier calls left
of other releases serves as a source of chunks too, and goes when an image is whole.
"""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import NoSpaceError, UpdateFileMissingError, WrongHashError
from flashvisor.flash.chunks import cut
from flashvisor.host.files import need_space, sha256_file
from flashvisor.model.release import chunk_path
from flashvisor.trust.updates import Want, check_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from flashvisor.model.release import Chunk, Manifest
    from flashvisor.node.sources import Source

SUFFIX = ".efi"


@dataclass(frozen=True)
class Intake:
    """A whole image. `reused` are the bytes of it that were here before this call."""

    image: Path
    reused: int


def assemble(
    manifest: Manifest,
    directory: Path,
    *,
    held: Iterable[bytes],
    source: Source,
    tell: Callable[[int], None] = lambda _: None,
) -> Intake:
    """Makes the image that a verified manifest describes.

    Args:
        manifest: As `verify` returned it.
        directory: In RAM; nobody else writes there.
        held: Images that the server has, each asked for only while chunks are missing.
        source: Has the other chunks.
        tell: Hears how many bytes of the image are there.

    Raises:
        NoSpaceError: the directory has no room.
        UpdateFileMissingError: the source lacks a chunk.
        EndlessDataError, WrongHashError: a chunk, or the whole, is not what was signed.
        ReleaseSourceError: the source stopped.
    """
    directory.mkdir(parents=True, exist_ok=True)
    image = directory / f"{manifest.sha256}{SUFFIX}"
    begun = image.exists() and image.stat().st_size == manifest.length
    if not begun:
        need_space(directory, manifest.length, f"release {manifest.name} {manifest.version}")
        with image.open("wb") as file:
            file.truncate(manifest.length)
    try:
        with image.open("r+b") as file:
            growing = _Growing(file, manifest.chunks)
            if begun:
                growing.recognise()
            tell(growing.there)
            growing.take_from(_all_held(held, directory, image))
            reused = growing.there
            growing.download(source, tell)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise NoSpaceError(f"memory ran out while release {manifest.name} {manifest.version} came in") from error
    if sha256_file(image) != manifest.sha256:
        image.unlink()
        raise WrongHashError(f"the chunks of {manifest.name} {manifest.version} are not those of its image")
    for other in _others(directory, image):
        other.unlink()
    return Intake(image, reused)


class _Growing:
    """An image file, and which chunks it lacks."""

    def __init__(self, file: BinaryIO, chunks: Iterable[Chunk]) -> None:
        self._file = file
        self._places: dict[Chunk, list[int]] = {}
        self.there = offset = 0  # bytes
        for chunk in chunks:
            self._places.setdefault(chunk, []).append(offset)
            offset += chunk.length
        self._missing = dict.fromkeys(self._places)

    def recognise(self) -> None:
        """Finds the chunks that an earlier call put in place."""
        for chunk, offsets in self._places.items():
            if all(self._is_at(chunk, offset) for offset in offsets):
                self._got(chunk)

    def take_from(self, images: Iterable[bytes]) -> None:
        """Takes chunks out of whole images, one image at a time."""
        rest = iter(images)
        while self._missing and (image := next(rest, None)) is not None:
            for chunk, piece in cut(image):
                self._put(chunk, piece)
            del image  # before the next one comes: each may have 32 MB

    def download(self, source: Source, tell: Callable[[int], None]) -> None:
        """Takes the other chunks from the source, in the image's order."""
        wanted = list(self._missing)
        wants = (Want(chunk_path(chunk.sha256), chunk.length) for chunk in wanted)
        for chunk, data in zip(wanted, source.answers(wants), strict=True):
            if data is None:
                raise UpdateFileMissingError(f"the repository has no {chunk_path(chunk.sha256)}")
            check_chunk(chunk, data)
            self._put(chunk, data)
            tell(self.there)
        self._file.flush()

    def _put(self, chunk: Chunk, piece: bytes) -> None:
        if chunk not in self._missing:
            return
        for offset in self._places[chunk]:
            self._file.seek(offset)
            self._file.write(piece)
        self._got(chunk)

    def _got(self, chunk: Chunk) -> None:
        del self._missing[chunk]
        self.there += chunk.length * len(self._places[chunk])

    def _is_at(self, chunk: Chunk, offset: int) -> bool:
        self._file.seek(offset)
        return hashlib.sha256(self._file.read(chunk.length)).hexdigest() == chunk.sha256


def _all_held(held: Iterable[bytes], directory: Path, image: Path) -> Iterator[bytes]:
    yield from held
    for other in _others(directory, image):
        yield other.read_bytes()


def _others(directory: Path, image: Path) -> list[Path]:
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if path != image)
