"""The administrator's terminal: raw while a guest's console is shown on it, as it was afterwards.

Source: termios(3), tcsetattr with TCSADRAIN; select(2)::

    with raw(sys.stdin.fileno()):
        data = read_keys(sys.stdin.fileno(), 0.2)
"""

from __future__ import annotations

import os
import select
import termios
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS_AT_ONCE = 4096  # bytes


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Passes every key on as it is typed, without echo; does nothing when the descriptor is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def read_keys(descriptor: int, timeout: float) -> bytes | None:
    """Returns what was typed, b"" at the end of input, None when nothing came within `timeout` seconds."""
    ready, _, _ = select.select([descriptor], [], [], timeout)
    return os.read(descriptor, KEYS_AT_ONCE) if ready else None


def write(descriptor: int, data: bytes) -> None:
    """Writes all bytes."""
    while data:
        data = data[os.write(descriptor, data) :]
