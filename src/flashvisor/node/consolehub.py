"""Guests' serial consoles: one reader for each, kept from start to end, with the last 64 KiB for who comes late.

QEMU takes one client at a time, so the agent is that client, and serves any number itself. One thread, one selector.

Example::

    hub = ConsoleHub()
    hub.watch("web", Path("/run/flashvisor/console/web.sock"))
    detach = hub.attach("web", on_bytes)       # the scrollback comes first
    hub.send("web", typed)
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from flashvisor.errors import GuestStateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

SCROLLBACK = 1 << 16  # bytes
CHUNK = 1 << 14  # bytes
SEND_LIMIT = 5.0  # seconds that a guest may leave its serial port's input unread


class _Line:
    """One guest's console: its socket, what it said, who listens."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.said = bytearray()
        self.listeners: list[Callable[[bytes], None]] = []

    def hear(self, data: bytes) -> None:
        self.said += data
        del self.said[:-SCROLLBACK]
        for listener in tuple(self.listeners):
            listener(data)


class ConsoleHub:
    """The consoles of all running guests. Listeners get b"" when a guest's console ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._ending = False
        self._thread = threading.Thread(target=self._read_all, name="consoles", daemon=True)

    def __enter__(self) -> ConsoleHub:
        """Starts the reader."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the reader and lets go of all consoles."""
        self._ending = True
        self._wake.send(b"x")
        self._thread.join()
        for name in tuple(self._lines):
            self._drop(name)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def watch(self, name: str, path: Path) -> bool:
        """Takes up a guest's console; one that is watched already stays as it is.

        Returns:
            Whether it is watched now: a guest that has just ended leaves nobody behind its socket.
        """
        with self._lock:
            if name in self._lines:
                return True
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        channel.settimeout(SEND_LIMIT)
        try:
            channel.connect(str(path))
        except OSError:
            channel.close()
            return False
        with self._lock:
            self._lines[name] = _Line(channel)
            self._selector.register(channel, selectors.EVENT_READ, name)
        self._wake.send(b"x")
        return True

    def attach(self, name: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Has `listener` called with the scrollback and then all that the guest says, from the reader's thread.

        Returns:
            A function that ends it.

        Raises:
            GuestStateError: the guest has no console now.
        """
        line = self._line(name)
        with self._lock:
            if line.said:
                listener(bytes(line.said))
            line.listeners.append(listener)

        def detach() -> None:
            with self._lock, suppress(ValueError):
                line.listeners.remove(listener)

        return detach

    def send(self, name: str, data: bytes) -> None:
        """Types into a guest's console.

        Raises:
            GuestStateError: the guest has no console now, or does not take its input.
        """
        try:
            self._line(name).channel.sendall(data)
        except OSError as error:
            raise GuestStateError(f"guest {name} does not take input on its console", evidence=str(error)) from error

    def _line(self, name: str) -> _Line:
        with self._lock:
            line = self._lines.get(name)
        if line is None:
            raise GuestStateError(f"guest {name} has no console now: it does not run")
        return line

    def _read_all(self) -> None:
        while not self._ending:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._woken.recv(CHUNK)
                else:
                    self._read(key.data)

    def _read(self, name: str) -> None:
        with self._lock:
            line = self._lines.get(name)
        if line is None:
            return
        try:
            data = line.channel.recv(CHUNK)
        except OSError:
            data = b""
        if data:
            with self._lock:
                line.hear(data)
        else:
            self._drop(name)

    def _drop(self, name: str) -> None:
        with self._lock:
            line = self._lines.pop(name, None)
            if line is None:
                return
            self._selector.unregister(line.channel)
            line.hear(b"")
            line.channel.close()
