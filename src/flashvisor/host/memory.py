"""Secrets as files for programs that take them in no other way: in memory, without a name, gone with this process.

Source: memfd_create(2); proc(5): /proc/PID/fd is open to processes of the same user alone::

    with memory_file(key_pem) as path:
        run(["sbsign", "--key", path, ...])
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def memory_file(data: bytes) -> Iterator[Path]:
    """Yields a path under which this process and its children read `data`.

    No disk ever holds it under a name, and nothing is left when the process is killed. The kernel may move it to swap.
    """
    handle = os.memfd_create("flashvisor", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(data)
        yield Path(f"/proc/{os.getpid()}/fd/{handle}")
    finally:
        os.close(handle)
