"""A guest's console as the administrator's side holds it. Admin side only; `Client.console` opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection


class Console:
    """A guest's console: bytes in, bytes out, until one side closes it. Made by `Client.console`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def send(self, data: bytes) -> None:
        """Sends what was typed; bytes typed after the server closed the console are lost, as on a real line."""
        try:
            self._connection.send(data)
        except ConnectionClosed:
            return

    def receive(self) -> bytes:
        """Waits for the guest's next output; returns b"" once the console is closed."""
        try:
            data = self._connection.recv()
        except ConnectionClosed:
            return b""
        return data.encode() if isinstance(data, str) else data

    def close(self) -> None:
        """Closes the console; a thread that waits in `receive` returns."""
        self._connection.close()
