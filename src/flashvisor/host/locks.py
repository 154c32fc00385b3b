"""A file as a lock between processes; the kernel gives it back when its holder ends, however. Source: flock(2).

Example::

    with exclusive(directory / "lock"): ...
    with holding(directory): shutil.rmtree(directory)
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
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
    """Makes a directory if it is not there, and holds it as soon as nobody else does. Its holder may remove it."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # its holder has just removed it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if directory.exists() and os.path.samestat(os.fstat(handle), directory.stat()):
                yield
                return
        finally:
            os.close(handle)
