"""The place where a virtual server's flash device sits: pulled and put in while the server runs.

Example::

    pulled = server.flash_slot.pull()
    server.flash_slot.insert(pulled)
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from flashvisor.host.files import copy_sparse
from flashvisor.lab.machine import FLASH_BUS, FLASH_ID, FLASH_SERIAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.host.qemu_system import Qmp
    from flashvisor.lab.machine import Paths

PULL_LIMIT = 30.0  # seconds
INSERTED = "inserted"  # QEMU's name for the file of a device that was put in later


class FlashSlot:
    """A running server's flash device.

    Args:
        paths: The server's files.
        monitor: Connects to its QEMU's monitor.

    Every call raises:
        ServerOffError: the server is off.
        MonitorError: QEMU refused.
    """

    def __init__(self, paths: Paths, monitor: Callable[[], Qmp]) -> None:
        self._paths, self._monitor = paths, monitor

    def pull(self) -> Path:
        """Pulls the device. A server without one cannot be powered on.

        Returns:
            What was pulled; the next pull replaces it.
        """
        with self._monitor() as qmp:
            qmp.execute("device_del", id=FLASH_ID)
            qmp.wait_event("DEVICE_DELETED", limit=PULL_LIMIT)
            if any(node.get("node-name") == INSERTED for node in qmp.execute("query-named-block-nodes")):
                qmp.execute("blockdev-del", node_name=INSERTED)
        return self._paths.flash.replace(self._paths.pulled_flash)

    def insert(self, path: Path, *, dying: bool = False) -> None:
        """Puts a device into a server that has none: a copy of a file. It stays in from now on.

        Args:
            path: What the device holds.
            dying: It can be read, and every write fails, as with flash that is worn out; until the next power-on.
        """
        file: dict[str, object] = {"driver": "file", "filename": str(self._paths.flash)}
        if dying:
            faults = [{"event": "none", "iotype": kind, "errno": errno.EIO} for kind in ("write", "flush")]
            file = {"driver": "blkdebug", "image": file, "inject-error": faults}
        with self._monitor() as qmp:
            copy_sparse(path, self._paths.flash)
            qmp.execute("blockdev-add", driver="raw", node_name=INSERTED, file=file)
            qmp.execute(
                "device_add",
                driver="usb-storage",
                id=FLASH_ID,
                bus=FLASH_BUS,
                drive=INSERTED,
                removable=True,
                serial=FLASH_SERIAL,
            )
