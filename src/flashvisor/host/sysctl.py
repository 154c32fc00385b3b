"""Kernel parameters under /proc/sys. Source: sysctl(8), Documentation/admin-guide/sysctl.

Example::

write("net/ipv4/ip_forward", "1")
"""

from __future__ import annotations

import math
from pathlib import Path

from flashvisor.errors import DeviceError

PLACE = Path("/proc/sys")
KIB = 1 << 10  # bytes
MIN_FREE = range(128, 262_144 + 1)  # KiB


def min_free(total: int) -> int:
    """Returns the KiB that the kernel keeps free for itself when nothing asks for more. Pure.

    Args:
        total: Bytes of RAM.

    Source: mm/page_alloc.c, calculate_min_free_kbytes. Transparent huge pages raise it (mm/khugepaged.c).
    """
    return min(max(math.isqrt(total // KIB * 16), MIN_FREE[0]), MIN_FREE[-1])


def write(name: str, value: str, place: Path = PLACE) -> None:
    """Sets a parameter; one that has the value already is left alone.

    Raises:
        DeviceError: this kernel has no such parameter, or refuses the value.
    """
    path = place / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise DeviceError(f"kernel parameter {name} does not take '{value}'", evidence=str(error)) from error
