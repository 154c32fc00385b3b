"""NVMe's own SMART log, asked of the kernel by the one command that it takes: no program for it is in the image.

Sources: NVM Express Base Specification 2.0c, 5.16.1.3 (SMART / Health Information); linux/nvme_ioctl.h.

Example::

    log = read_log(Path("/dev/nvme0n1"))
    log.used                # 0.03
"""

from __future__ import annotations

import array
import fcntl
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import DeviceFaultyError

if TYPE_CHECKING:
    from pathlib import Path

# struct nvme_passthru_cmd: opcode, flags, reserved, nsid, cdw2, cdw3, metadata, addr, lengths, cdw10 to 15, timeout,
# result.
_COMMAND = struct.Struct("=BBHIIIQQIIIIIIIIII")
_ADMIN_COMMAND = 0xC0484E41  # _IOWR('N', 0x41, struct nvme_passthru_cmd)
_GET_LOG_PAGE, _SMART = 0x02, 0x02
_ALL_NAMESPACES = 0xFFFFFFFF
_SIZE = 512  # bytes of the log
_TIMEOUT = 5_000  # milliseconds
# Bits of the first byte.
WARNINGS = {
    0: "its spare blocks are below its threshold",
    2: "it is degraded by media or internal errors",
    3: "it takes no more writes",
}


@dataclass(frozen=True)
class SmartLog:
    """What the device says.

    Attributes:
        used: The share of its life that is used up; may exceed 1.
        spare: The share of its spare blocks that is left; None if it keeps no account of them.
        warnings: In plain words.
    """

    used: float
    spare: float | None
    warnings: tuple[str, ...]


def read_log(device: Path) -> SmartLog:
    """Asks a device.

    Args:
        device: A namespace ("/dev/nvme0n1").

    Raises:
        DeviceFaultyError: it gives no answer.
    """
    page = array.array("B", bytes(_SIZE))
    address, _ = page.buffer_info()
    what = (_SIZE // 4 - 1) << 16 | _SMART
    command = _COMMAND.pack(
        _GET_LOG_PAGE, 0, 0, _ALL_NAMESPACES, 0, 0, 0, address, 0, _SIZE, what, 0, 0, 0, 0, 0, _TIMEOUT, 0
    )
    try:
        handle = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = fcntl.ioctl(handle, _ADMIN_COMMAND, bytearray(command))
        finally:
            os.close(handle)
    except OSError as error:
        raise DeviceFaultyError(f"{device} cannot be asked for its SMART log: {error.strerror}") from error
    if status:
        raise DeviceFaultyError(f"{device} refuses its SMART log: NVMe status 0x{status:x}")
    return parse_log(page.tobytes())


def parse_log(page: bytes) -> SmartLog:
    """Returns what the 512 bytes of a log say."""
    warnings = tuple(words for bit, words in WARNINGS.items() if page[0] >> bit & 1)
    # A device that has neither spare blocks nor a threshold for them (QEMU's) does not count them.
    return SmartLog(used=page[5] / 100, spare=page[3] / 100 if page[3] or page[4] else None, warnings=warnings)
