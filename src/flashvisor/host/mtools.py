"""mtools: FAT file systems without mounting them. Source: mformat(1), mcopy(1), mmd(1).

The same arguments give the same bytes: time, time zone, serial number and configuration are fixed.

Example::

    make_fat(Path("seed.img"), size=1 << 20, label="CIDATA", files={"meta-data": b"instance-id: web"})
"""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from flashvisor.host.run import run

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTOR = 512  # bytes
CHUNK = 1 << 20  # bytes
EPOCH = 315532800  # seconds; 1980-01-01, where FAT's time begins
LABEL_LIMIT = 11  # bytes
HEADS, TRACK = 64, 32  # the geometry that firmware expects of a medium without one (CHS is not used any more)


def version() -> str:
    """Returns mtools' version line."""
    return run(["mformat", "--version"]).stdout.splitlines()[0]


def make_fat(
    image: Path,
    *,
    size: int,
    label: str,
    files: Mapping[str, Path | bytes],
    offset: int = 0,
    epoch: int = EPOCH,
) -> None:
    """Makes a FAT file system in a file; the type (12, 16, 32) follows from the size.

    Args:
        image: Is made, or made longer, if need be. What it held in the range is lost; the rest is left alone.
        size: Bytes of the file system, whole sectors.
        label: At most 11 characters; FAT knows capitals only.
        files: Contents by path inside; directories are made.
        offset: Where it begins in `image`, in bytes.
        epoch: The time of all entries, in seconds since 1970 UTC.

    Raises:
        CommandFailedError: the files do not fit.
    """
    label = label.upper()
    if size % SECTOR or offset % SECTOR or len(label) > LABEL_LIMIT:
        raise ValueError(f"size {size} and offset {offset} must be whole sectors, label {label!r} of 11 at most")
    _clear(image, offset, size)
    drive = f"{image}@@{offset}"
    _mtool(
        ["mformat", "-i", drive, "-T", str(size // SECTOR), "-h", str(HEADS), "-s", str(TRACK),
         "-H", str(offset // SECTOR), "-N", f"{zlib.crc32(label.encode()):08x}", "-v", label, "::"], epoch,
    )  # fmt: skip
    directories = sorted({str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."})
    for directory in directories:
        _mtool(["mmd", "-i", drive, f"::{directory}"], epoch)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in sorted(files.items()):
            source = content if isinstance(content, Path) else Path(scratch) / "file"
            if isinstance(content, bytes):
                source.write_bytes(content)
            _mtool(["mcopy", "-i", drive, "-o", str(source), f"::{name}"], epoch)


def read_file(image: Path, name: str, target: Path, *, offset: int = 0) -> None:
    """Copies a file out of a FAT file system.

    Raises:
        CommandFailedError: there is no such file or file system.
    """
    _mtool(["mcopy", "-i", f"{image}@@{offset}", "-n", "-o", f"::{name}", str(target)], EPOCH)


def list_files(image: Path, *, offset: int = 0) -> tuple[str, ...]:
    """Returns the paths of all files and directories (these end in /) in a FAT file system.

    Raises:
        CommandFailedError: there is no file system.
    """
    drive = f"{image}@@{offset}"
    _mtool(["minfo", "-i", drive, "::"], EPOCH)
    # mdir calls an empty file system an error; minfo has told that there is one.
    lines = _mtool(["mdir", "-i", drive, "-/", "-b", "::"], EPOCH, accept=(1,)).splitlines()
    return tuple(line.removeprefix("::/") for line in lines if line.removeprefix("::/"))


def _mtool(argv: list[str], epoch: int, accept: tuple[int, ...] = ()) -> str:
    # The user's own ~/.mtoolsrc and time zone must not reach the image.
    env = {"MTOOLSRC": os.devnull, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    return run(argv, env=env, accept=accept).stdout


def _clear(image: Path, offset: int, size: int) -> None:
    """Fills a range of a file with zeros; holes stay holes."""
    image.touch()
    with image.open("r+b") as file:
        if file.seek(0, os.SEEK_END) < offset + size:
            file.truncate(offset + size)
        for start in range(offset, offset + size, CHUNK):
            length = min(CHUNK, offset + size - start)
            file.seek(start)
            if file.read(length).count(0) != length:
                file.seek(start)
                file.write(bytes(length))
