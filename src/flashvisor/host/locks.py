"""A file as a lock between processes; the kernel gives it back when its holder ends, however. Source: flock(2).

Example::

    with exclusive(directory / "lock"): ...
"""

from __future__ import annotations

import fcntl
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
