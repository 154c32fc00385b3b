"""The server's power button, and every other key that means the same. There is no logind to listen to it.

Source: Documentation/input/input.rst (struct input_event), input-event-codes.h; the key bitmaps of
/sys/class/input/event*/device/capabilities are those of EVIOCGBIT, most significant word first.

Example::

    for _ in presses(devices()):
        ...                     # the button was pressed
"""

from __future__ import annotations

import os
import select
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path("/")
EV_KEY = 1
KEY_POWER = 116
PRESSED = 1  # 0 is let go, 2 is a repetition while it is held
EVENT = struct.Struct("@llHHi")  # seconds, microseconds, type, code, value
WORD = 8 * struct.calcsize("@l")  # bits; the kernel's unsigned long
EVENTS = 64  # taken in one read


def devices(root: Path = ROOT) -> tuple[Path, ...]:
    """Returns the input devices that can send KEY_POWER: ACPI's button, and keyboards with such a key."""
    places = sorted((root / "sys/class/input").glob("event*"))
    return tuple(root / "dev/input" / place.name for place in places if _can_power(place))


def presses(sources: Iterable[Path]) -> Iterator[None]:
    """Yields at each press, and blocks between them. Ends when no device is left that could send one."""
    handles: dict[int, None] = {}
    poll = select.poll()
    try:
        for path in sources:
            handle = _opened(path)
            if handle is not None:
                handles[handle] = None
                poll.register(handle, select.POLLIN)
        while handles:
            for handle, _ in poll.poll():
                data = _read(handle)
                if not data:
                    poll.unregister(handle)
                    del handles[handle]
                    os.close(handle)
                for _ in range(_count(data)):
                    yield
    finally:
        for handle in handles:
            os.close(handle)


def _can_power(place: Path) -> bool:
    try:
        words = (place / "device/capabilities/key").read_text().split()
        word = int(words[-1 - KEY_POWER // WORD], 16)
    except (OSError, IndexError, ValueError):
        return False
    return bool(word >> KEY_POWER % WORD & 1)


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def _read(handle: int) -> bytes:
    """Returns whole events; b"" when the device has gone."""
    try:
        return os.read(handle, EVENTS * EVENT.size)
    except OSError:
        return b""


def _count(data: bytes) -> int:
    whole = data[: len(data) - len(data) % EVENT.size]
    return sum(event[2:] == (EV_KEY, KEY_POWER, PRESSED) for event in EVENT.iter_unpack(whole))
