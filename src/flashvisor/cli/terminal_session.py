"""This terminal on a console, until Ctrl-] is typed, input ends or the console closes.

Owns the two directions and how they end. Does not own the connection (api/client.py, lab/server.py)::

    with client.console("web") as line:
        terminal_session.run(line)
"""

from __future__ import annotations

import sys
import threading
from typing import Protocol

from flashvisor.host import terminal

ESCAPE = b"\x1d"  # Ctrl-], as virsh console and telnet have it
LOOK = 0.2  # seconds between two looks at whether the console has closed


class Line(Protocol):
    """A console's line: a guest's (api/client.py) or a virtual server's (lab/server.py)."""

    def send(self, data: bytes) -> None:
        """Sends what was typed."""

    def receive(self) -> bytes:
        """Waits for what the console says next; b"" once it is closed."""

    def close(self) -> None:
        """Closes the line; a thread that waits in `receive` returns."""


def run(line: Line) -> None:
    """Carries bytes both ways. At the end of input the output is still shown until the console closes."""
    closed = threading.Event()
    screen = threading.Thread(target=_show, args=(line, closed), daemon=True)
    with terminal.raw(sys.stdin.fileno()):
        screen.start()
        if _carry(line, closed):
            line.close()
        screen.join()


def _carry(line: Line, closed: threading.Event) -> bool:
    """Sends keys until one side ends; tells whether the person left by Ctrl-]."""
    while not closed.is_set():
        keys = terminal.read_keys(sys.stdin.fileno(), LOOK)
        if keys is None:
            continue
        typed, escape, _ = keys.partition(ESCAPE)
        if typed:
            line.send(typed)
        if escape:
            return True
        if not keys:
            return False
    return False


def _show(line: Line, closed: threading.Event) -> None:
    try:
        while data := line.receive():
            terminal.write(sys.stdout.fileno(), data)
    finally:
        closed.set()
