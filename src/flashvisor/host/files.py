"""Files as wholes: written completely or not at all, hashed, measured.

Example::

    write_atomic(path, b"...")
    digest = sha256_file(path)
    need_space(cache_dir, 4 * GIB, "the kernel build")
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import NoSpaceError

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20  # bytes
GIB = 1 << 30  # bytes
CHUNK = 1 * MIB  # bytes read at once


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replaces a file so that a reader, or a cut of power, sees the old bytes or the new ones, never a mixture.

    Source: rename(2), fsync(2) on file and directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sha256_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Returns the SHA-256 of a file as 64 hex digits; `on_bytes` hears of every chunk's size in bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if on_bytes:
                on_bytes(len(chunk))
    return digest.hexdigest()


def need_space(directory: Path, need: int, purpose: str) -> None:
    """Checks free space before anything is written.

    Args:
        directory: A directory on the disk in question; its nearest existing parent counts.
        need: Bytes wanted.
        purpose: Named in the error.

    Raises:
        NoSpaceError: fewer bytes are free.
    """
    place = directory
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < need:
        raise NoSpaceError(f"{purpose} needs {need / MIB:.0f} MiB on {place}, and {free / MIB:.0f} MiB are free")
