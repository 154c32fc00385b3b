"""A SATA device's own account of its wear, asked by the standard log that needs no table of makers' attributes.

ATA's Device Statistics log says the same thing in the same place on every device that keeps it; SMART's attributes do
not (docs/adr/0025). Sources: ATA Command Set 3 (ACS-3), 7.24 READ LOG EXT and A.5.7 Solid State Device Statistics;
SAT-3, 12.2.2 ATA PASS-THROUGH (16); linux/include/scsi/sg.h.

Example::

    read_used(Path("/dev/sda"))     # 0.12; None if the device keeps no such account
"""

from __future__ import annotations

import array
import fcntl
import os
import struct
from typing import TYPE_CHECKING

from flashvisor.errors import DeviceFaultyError

if TYPE_CHECKING:
    from pathlib import Path

# struct sg_io_hdr: interface, direction, lengths of command and sense, segments, bytes, addresses of data, command and
# sense, timeout, flags, id, pointer, the four statuses of the device, of the host and the driver, rest, duration, info.
_HEADER = struct.Struct("@iiBBHIPPPIIiPBBBBHHiII0P")
_STATUS = slice(13, 19)  # fields: all 0 when the command went well
_SG_IO, _FROM_DEVICE = 0x2285, -3
# SAT-3, table 133; the LBA's bytes are 31:24, 7:0, 39:32, 15:8, 47:40, 23:16
_PASS_THROUGH = struct.Struct(">BBBHHBBBBBBBBB")
_OPCODE, _PIO_IN_48_BIT, _ONE_BLOCK_IN = 0x85, 4 << 1 | 1, 0x0E
_READ_LOG_EXT, _STATISTICS, _SOLID_STATE = 0x2F, 0x04, 0x07
_SIZE = 512  # bytes of a page
_SENSE = 32  # bytes
_TIMEOUT = 5_000  # milliseconds
_USED = slice(8, 16)  # bytes of the page: Percentage Used Endurance Indicator, its flags on top
_SUPPORTED, _VALID = 1 << 63, 1 << 62


def read_used(device: Path) -> float | None:
    """Asks a device which share of its life is used up.

    Args:
        device: A whole disk ("/dev/sda").

    Returns:
        The share, which may exceed 1; None if the device keeps no such account.

    Raises:
        DeviceFaultyError: it gives no answer, or refuses.
    """
    page, sense = array.array("B", bytes(_SIZE)), array.array("B", bytes(_SENSE))
    command = array.array("B", _command())
    header = bytearray(
        _HEADER.pack(
            *(ord("S"), _FROM_DEVICE, len(command), _SENSE, 0, _SIZE),
            *(page.buffer_info()[0], command.buffer_info()[0], sense.buffer_info()[0], _TIMEOUT),
            *(0,) * 12,
        )
    )
    try:
        handle = os.open(device, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(handle, _SG_IO, header)
        finally:
            os.close(handle)
    except OSError as error:
        raise DeviceFaultyError(f"{device} cannot be asked for its statistics: {error.strerror}") from error
    if any(_HEADER.unpack(header)[_STATUS]):
        raise DeviceFaultyError(f"{device} keeps no statistics of itself (ACS-3, READ LOG EXT)")
    return parse_page(page.tobytes())


def _command() -> bytes:
    return _PASS_THROUGH.pack(
        _OPCODE, _PIO_IN_48_BIT, _ONE_BLOCK_IN, 0, 1, 0, _STATISTICS, 0, _SOLID_STATE, 0, 0, 0, _READ_LOG_EXT, 0
    )


def parse_page(page: bytes) -> float | None:
    """Returns what the 512 bytes of the page of solid-state statistics say; None if they do not say it."""
    used = int.from_bytes(page[_USED], "little")
    if page[2] != _SOLID_STATE or not used & _SUPPORTED or not used & _VALID:
        return None
    return (used & 0xFF) / 100
