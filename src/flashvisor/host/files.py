"""Files as wholes: written completely or not at all, hashed, measured.

Example::

    write_atomic(path, b"...")
    digest = sha256_file(path)
    need_space(cache_dir, 4 * GIB, "the kernel build")
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import DeviceFaultyError, NoSpaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MIB = 1 << 20  # bytes
GIB = 1 << 30  # bytes
CHUNK = 1 * MIB  # bytes read at once
BLOCK = 512  # bytes in stat(2)'s st_blocks


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
    sync(path.parent)


def write_once(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Makes a file with all its bytes, or leaves nothing; never touches one that exists.

    Raises:
        FileExistsError: it does.

    Source: link(2): unlike rename(2), it replaces nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as half:
        write_atomic(Path(half) / path.name, data, mode=mode)
        path.hardlink_to(Path(half) / path.name)
    sync(path.parent)


@contextmanager
def replacing(path: Path, *, mode: int = 0o644, size: int = 0) -> Iterator[Path]:
    """For files too large for `write_atomic`: yields a file beside `path` that takes its place at the end.

    The file begins as `size` bytes of zeros (a hole). After an error the old file stands as it was.

    Source: rename(2), fsync(2) on file and directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        os.truncate(handle, size)
        os.close(handle)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_directory_once(
    directory: Path, files: Mapping[str, bytes], *, mode: int = 0o644, directory_mode: int = 0o755
) -> None:
    """Makes a directory with all its files, or leaves nothing; never touches one that has something in it.

    Args:
        directory: Must not exist, or be empty.
        files: Contents by file name.
        mode: Of the files.
        directory_mode: Of the directory.

    Raises:
        FileExistsError: something is there already.

    Source: rename(2): a directory replaces an empty one only.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(errno.EEXIST, "is not an empty directory", str(directory))
    half = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        for name, data in files.items():
            write_atomic(half / name, data, mode=mode)
        half.chmod(directory_mode)
        half.rename(directory)
    except BaseException as error:
        shutil.rmtree(half, ignore_errors=True)
        # Somebody else was quicker: rename(2) says ENOTEMPTY or EEXIST, which mean the same here.
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, "is not an empty directory", str(directory)) from error
        raise
    sync(directory.parent)


def read_chunks(path: Path, on_bytes: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Yields a file's bytes in chunks; `on_bytes` hears of each chunk's size in bytes once it has been used."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
            if on_bytes:
                on_bytes(len(chunk))


def sha256_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Returns the SHA-256 of a file as 64 hex digits; `on_bytes` hears of every chunk's size in bytes."""
    digest = hashlib.sha256()
    for chunk in read_chunks(path, on_bytes):
        digest.update(chunk)
    return digest.hexdigest()


def copy_sparse(source: Path, target: Path) -> None:
    """Copies a file; chunks of zeros become holes, so that a copy takes no more disk than its contents.

    Raises:
        OSError: the source cannot be read, or the target not written.
    """
    with target.open("wb") as file:
        for chunk in read_chunks(source):
            if chunk.count(0) == len(chunk):
                file.seek(len(chunk), os.SEEK_CUR)
            else:
                file.write(chunk)
        file.truncate(source.stat().st_size)


def bytes_on_disk(path: Path) -> int:
    """Returns the bytes that a file's contents take on disk, without its holes (stat(2), st_blocks)."""
    return path.stat().st_blocks * BLOCK


def need_space(
    directory: Path, need: int, purpose: str, *, keep: Callable[[int], int] = lambda _size: 0, advice: str = ""
) -> None:
    """Checks free space before anything is written.

    Args:
        directory: A directory on the disk in question; its nearest existing parent counts.
        need: Bytes wanted.
        purpose: Named in the error.
        keep: Returns how many bytes must stay free beside them, given the disk's size in bytes.
        advice: The next step, where the error's own does not fit.

    Raises:
        NoSpaceError: fewer bytes are free.
    """
    place = directory
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    kept = keep(usage.total)
    if usage.free < need + kept:
        rest = f", of which {kept / MIB:.0f} MiB must stay so" if kept else ""
        raise NoSpaceError(
            f"{purpose} needs {need / MIB:.0f} MiB on {place}, and {usage.free / MIB:.0f} MiB are free{rest}",
            next_step=advice,
        )


@contextmanager
def on_disk(directory: Path, purpose: str, *, advice: str = "") -> Iterator[None]:
    """Turns what a disk refuses into our errors.

    Args:
        directory: Where is written.
        purpose: Named in the error.
        advice: The next step where there is no room, if the error's own does not fit.

    Raises:
        NoSpaceError: it ran full.
        DeviceFaultyError: it is read-only, was pulled out, or fails.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(f"{purpose}: {directory} ran full, and nothing was kept", next_step=advice) from error
        raise DeviceFaultyError(f"{purpose}: {directory} fails: {error.strerror}") from error


def sync(path: Path) -> None:
    """Brings a file's bytes, or a directory's names, onto the disk: what comes after may rely on them.

    Source: fsync(2).
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
