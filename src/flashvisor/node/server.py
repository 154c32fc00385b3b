"""The HTTPS server: uvicorn in a thread of its own, with our TLS context and our application.

Owns the thread and the listening socket. Does not own TLS rules (tls.py) or routes (app.py). Its imports are the
agent's heaviest, so it is imported late, in a thread, while devices are being found.

Example::

    with ApiServer(app, context, address="::", port=443) as server:
        server.port
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any, cast

from uvicorn.config import Config
from uvicorn.server import Server

from flashvisor.errors import ConflictError

if TYPE_CHECKING:
    import asyncio
    import ssl
    from types import TracebackType

    from starlette.types import ASGIApp

BACKLOG = 128  # connections that wait to be taken
KEEP_ALIVE = 30  # seconds that an idle connection stays open
GRACE = 3  # seconds that open requests get when the server ends
START_LIMIT = 60.0  # seconds


class _Server(Server):
    """uvicorn's server, telling when it answers."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.answering = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.answering.set()


class ApiServer:
    """The API on a port. Port 0 takes any free one; `port` says which it became.

    Raises:
        ConflictError: the port is taken.
    """

    def __init__(self, app: ASGIApp, context: ssl.SSLContext, *, address: str, port: int) -> None:
        self._socket = _listen(address, port)
        self.port: int = self._socket.getsockname()[1]
        config = Config(
            app,
            ssl_context_factory=lambda _config, _default: context,
            http="h11",
            ws=cast("type[asyncio.Protocol]", _websocket),
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="api", daemon=True
        )

    def __enter__(self) -> ApiServer:
        """Starts it, and returns once it answers."""
        self._thread.start()
        if not self._server.answering.wait(START_LIMIT):
            raise RuntimeError(f"the API does not come up within {START_LIMIT:.0f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it; open requests get a few seconds."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def _websocket(**surroundings: Any) -> asyncio.Protocol:  # noqa: ANN401 - uvicorn's own objects, handed on
    """Makes a connection's WebSocket protocol. Imported by the first console: the start counts every module."""
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

    return WSProtocol(**surroundings)


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # One socket for both families (ipv6(7)).
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise ConflictError(f"the API cannot listen on port {port}", evidence=str(error)) from error
    listener.listen(BACKLOG)
    return listener
