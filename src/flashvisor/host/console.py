"""The server's own consoles: serial line and screen. Owns the writing, not the words.

The kernel's /dev/console is only the last of its consoles (Documentation/admin-guide/serial-console.rst), so a line
for people goes to each of them::

    console = Console(console_devices())
    console.say("flashvisor: stage=agent t=1.62")
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SCREEN = "tty0"  # the foreground virtual terminal, vt(4)


def console_devices(root: Path = Path("/")) -> tuple[Path, ...]:
    """Returns /dev/console, and the kernel's other consoles beside it; the screen always counts as one.

    Source: /sys/class/tty/console/active lists them, and its last name is what /dev/console stands for.
    """
    try:
        active = (root / "sys/class/tty/console/active").read_text().split()
    except OSError:
        active = []
    others = active[:-1] if active else []
    if SCREEN not in active and (root / "dev" / SCREEN).exists():
        others.append(SCREEN)
    return (root / "dev/console", *(root / "dev" / name for name in others))


class Console:
    """Lines for people. A console that is gone never stops the server: it is passed over."""

    def __init__(self, devices: Sequence[Path]) -> None:
        self._devices = tuple(devices)

    def say(self, line: str) -> None:
        """Writes one line to every console, at once (the agent's words must survive its next step)."""
        data = f"{line}\r\n".encode()
        for device in self._devices:
            _write(device, data)


def _write(device: Path, data: bytes) -> None:
    try:
        handle = os.open(device, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
    except OSError:
        return
    try:
        os.write(handle, data)
    except OSError:
        return
    finally:
        os.close(handle)
