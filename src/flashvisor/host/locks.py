"""A file as a lock between processes; the kernel gives it back when its holder ends, however. Source: flock(2).

Example::

    with exclusive(directory / "lock"): ...
    with holding(directory): shutil.rmtree(directory)
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits for the lock and holds it. The file stays: removing it would let two hold what each takes for the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def holding(directory: Path) -> Iterator[None]:
    """Makes a directory if it is not there, and holds it as soon as nobody else does.

    Its holder may remove it as the last act: from then on the next one makes and holds another.
    """
    handle = _held(directory)
    try:
        yield
    finally:
        os.close(handle)


def _held(directory: Path) -> int:
    while True:
        with suppress(FileExistsError, FileNotFoundError):  # also where somebody removes one of them meanwhile
            directory.parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir()
        with suppress(FileNotFoundError):  # its holder has just removed it
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(handle, directory):
                return handle
            os.close(handle)


def _is_at(handle: int, directory: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), directory.stat())
    except FileNotFoundError:
        return False
