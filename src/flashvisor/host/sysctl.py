"""Kernel parameters under /proc/sys. Source: sysctl(8), Documentation/admin-guide/sysctl.

Example::

write("net/ipv4/ip_forward", "1")
"""

from __future__ import annotations

from pathlib import Path

from flashvisor.errors import DeviceError

PLACE = Path("/proc/sys")


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
