"""The library: a directory of imported images, each whole or not there, and one record for each import.

Owns file names, records and locks in that directory. Does not own how images come about (importer.py)::

    library = Library(Path("images"))
    library.find(sha256)                                  # its record, if all its files are there
    with library.working(key_of(sha256)) as work: ...     # a place for half things, and nobody else does the same
    library.remove(library.named("web"))

    images/web-3f2a91c04d7e.qcow2          a disk: NAME-START OF THE SOURCE'S SHA-256
    images/web-3f2a91c04d7e-2.qcow2        the second disk of the same appliance
    images/web-3f2a91c04d7e.json           the record, written last
    images/.work/                          what was begun
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import UnknownNameError, UnreadableFileError
from flashvisor.host.files import bytes_on_disk, sync, write_atomic
from flashvisor.host.locks import holding
from flashvisor.transfer.draft import ImportRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.transfer.draft import ImportedImage

KEY = 12  # hex digits of the source's SHA-256 in names
WORK = ".work"


class Library:
    """The images under one directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def records(self) -> list[ImportRecord]:
        """Returns all records by name.

        Raises:
            UnreadableFileError: one is not what this version writes.
        """
        return [self._read(path) for path in sorted(self.place.glob("*.json"))]

    def find(self, source_sha256: str) -> ImportRecord | None:
        """Returns the record of a source whose images are all there."""
        for path in self.place.glob(f"*-{key_of(source_sha256)}.json"):
            record = self._read(path)
            if record.source_sha256 == source_sha256 and self.is_whole(record):
                return record
        return None

    def is_whole(self, record: ImportRecord) -> bool:
        """Tells whether all files of an import are there in their size."""
        return all(self.holds(image) for image in record.images)

    def holds(self, image: ImportedImage) -> bool:
        """Tells whether an image's file is there in its size."""
        path = self.file(image)
        return path.is_file() and path.stat().st_size == image.size

    def file(self, image: ImportedImage) -> Path:
        """Returns where an image lies."""
        return self.place / image.file

    def named(self, name: str) -> ImportRecord:
        """Returns the one import of a name: the record's own, or that of its guests or images.

        Raises:
            UnknownNameError: there is none, or several.
        """
        records = self.records()
        found = [record for record in records if record.name == name] or [
            record for record in records if name in _names(record)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(record.name for record in found)
            raise UnknownNameError(f"'{name}' is the name of several imports", next_step=f"Name one of: {several}.")
        raise UnknownNameError(
            f"no import of the name '{name}' is in {self.place}", next_step="`flashvisor image list` lists them."
        )

    @contextmanager
    def working(self, key: str) -> Iterator[Path]:
        """Gives a directory for half things of one `key`, which stay if the work ends early; waits for others."""
        work = self.place / WORK / key
        try:
            with holding(work):
                try:
                    yield work
                finally:
                    _drop_if_empty(work)
        finally:
            _drop_if_empty(work.parent)

    def keep(self, record: ImportRecord, work: Path, parts: list[Path]) -> None:
        """Takes in an import's finished files, then its record: from then on it is there.

        Args:
            record: What to keep.
            work: Its working directory; cleared away in the end.
            parts: Its files, in the order of the record's images.
        """
        for image, part in zip(record.images, parts, strict=True):
            part.replace(self.file(image))
        sync(self.place)
        write_atomic(self.place / f"{record.name}.json", msgspec.json.format(msgspec.json.encode(record)))
        shutil.rmtree(work)

    def remove(self, record: ImportRecord) -> int:
        """Removes an import; returns the bytes that this freed. Cut short, it can be done again."""
        with self.working(key_of(record.source_sha256)) as work:
            freed = 0
            for image in record.images:
                path = self.file(image)
                freed += path.stat().st_size if path.exists() else 0
                path.unlink(missing_ok=True)
            (self.place / f"{record.name}.json").unlink(missing_ok=True)
            shutil.rmtree(work)
        return freed

    def unfinished(self) -> int:
        """Returns the bytes on disk of what was begun, by imports that run or were cut."""
        return sum(bytes_on_disk(path) for path in (self.place / WORK).rglob("*") if path.is_file())

    def _read(self, path: Path) -> ImportRecord:
        try:
            return msgspec.json.decode(path.read_bytes(), type=ImportRecord)
        except (OSError, msgspec.DecodeError) as error:
            raise UnreadableFileError(
                f"{path} is no record of an import",
                evidence=str(error),
                next_step="Move it elsewhere, and import its source again.",
            ) from error


def key_of(source_sha256: str) -> str:
    """Returns what of a source's SHA-256 stands in file names."""
    return source_sha256[:KEY]


def _names(record: ImportRecord) -> set[str]:
    return {image.name for image in record.images} | {guest.name for guest in record.guests}


def _drop_if_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()
