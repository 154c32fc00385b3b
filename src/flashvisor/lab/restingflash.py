"""The flash device of a virtual server that is off: its bits tip over, and its write log tells what came to it.

Example::

    server.resting_flash.corrupt("a", 70_000)
    entries = server.resting_flash.writes()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.flash.layout import PARTITIONS
from flashvisor.host.block import BlockFile
from flashvisor.lab import writelog

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from flashvisor.lab.machine import Paths


class RestingFlash:
    """What is done with the flash of a server that is off.

    Args:
        paths: The server's files.
        at_rest: Sees to it that the server is off, and stays so.

    Every call raises:
        ServerOnError: the server is on.
    """

    def __init__(self, paths: Paths, at_rest: Callable[[], AbstractContextManager[None]]) -> None:
        self._paths, self._at_rest = paths, at_rest

    def corrupt(self, partition: str, offset: int, *, bit: int = 0) -> None:
        """Flips a bit. No write log tells of it.

        Args:
            partition: One of flash/layout.py's PARTITIONS.
            offset: Of the byte in the partition.
            bit: 0 to 7, from the lowest.
        """
        region = PARTITIONS[partition]
        with (
            self._at_rest(),
            BlockFile(self._paths.flash, write=True, offset=region.start, length=region.size) as flash,
        ):
            flash.write(offset, bytes([flash.read(offset, 1)[0] ^ 1 << bit]))

    def writes(self) -> tuple[writelog.Entry, ...]:
        """Returns what was written since the flash held `spec.flash`; what was put in later is not in it.

        Raises:
            RuntimeError: the server was ordered without a write log.
            WriteLogError: the log is damaged.
        """
        with self._at_rest():
            if not self._paths.write_log.exists():
                raise RuntimeError(f"{self._paths.directory.name} keeps no write log")
            return writelog.parse(self._paths.write_log.read_bytes())
