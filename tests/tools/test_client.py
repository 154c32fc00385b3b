"""The client against a real HTTPS server on the loopback: certificates of both sides, streams, and a console."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from flashvisor.api.address import Address
from flashvisor.api.client import Client, tls_context
from flashvisor.api.failures import failure
from flashvisor.api.routes import Routes
from flashvisor.errors import (
    ForeignNodeError,
    NodeUnreachableError,
    NotAdmittedError,
    UnknownGuestError,
)
from flashvisor.trust.certificates import Pair
from flashvisor.trust.keyring import Keyring
from sim.nodesim import NODE, NodeSim, guest_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.websockets import WebSocket

pytestmark = pytest.mark.tools


def application(sim: NodeSim) -> Starlette:
    """The simulated server as an ASGI application."""

    async def answer(request: Request) -> Response:
        status, body = sim.handle(request.method, request.url.path, await request.body())
        return Response(body, status)

    async def console(socket: WebSocket) -> None:
        name = socket.path_params["name"]
        await socket.accept()
        if name not in sim.guests:
            _, body = sim.handle("GET", Routes.GUEST.path(name=name), b"")
            await socket.send_text(body.decode())
            await socket.close()
            return
        await socket.send_text("")
        await socket.send_bytes(b"login: ")
        await socket.send_bytes(b"hello " + await socket.receive_bytes())
        await socket.close()

    return Starlette(
        routes=[
            WebSocketRoute(Routes.GUEST_CONSOLE.template, console),
            Route("/{path:path}", answer, methods=["GET", "POST", "PUT"]),
        ]
    )


@contextmanager
def serve(sim: NodeSim, owner: Keyring, directory: Path, name: str = "alpha") -> Iterator[Address]:
    """Serves the simulated server over TLS with an identity of `owner`, as a server in flash does."""
    identity = owner.issue_node(name)
    (directory / "node.pem").write_bytes(identity.cert_pem)
    (directory / "node.key").write_bytes(identity.key_pem)
    (directory / "ca.pem").write_bytes(owner.ca_pem)
    config = uvicorn.Config(
        application(sim),
        ws="wsproto",
        lifespan="off",
        log_level="critical",
        ssl_certfile=str(directory / "node.pem"),
        ssl_keyfile=str(directory / "node.key"),
        ssl_ca_certs=str(directory / "ca.pem"),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The socket listens before the thread starts, so nobody has to wait for the server.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Address("127.0.0.1", listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def sim() -> NodeSim:
    return NodeSim(guests={"web": guest_report("web")})


@pytest.fixture
def address(sim: NodeSim, keyring: Keyring, tmp_path: Path) -> Iterator[Address]:
    with serve(sim, keyring, tmp_path) as address:
        yield address


def test_owner_and_server_meet_at_an_address_that_is_in_no_certificate(address: Address, keyring: Keyring) -> None:
    with Client(address, keyring) as client:
        assert client.node() == NODE


def test_a_large_image_arrives_whole(address: Address, keyring: Keyring, sim: NodeSim, tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(range(256)) * 40_000)
    with Client(address, keyring) as client:
        report = client.upload_image(path)
    assert report.size == path.stat().st_size
    assert list(sim.images) == [report.sha256]


def test_a_stranger_is_not_admitted_and_does_not_trust_the_server(
    address: Address, stranger: Keyring, sim: NodeSim
) -> None:
    with Client(address, stranger) as client, pytest.raises(ForeignNodeError, match=r"self-signed|unable to get"):
        client.node()
    assert sim.calls == []


class StrangersKeys(Keyring):
    """Trusts the owner's servers, but shows somebody else's client certificate, or a server's."""

    shown: Pair

    def pair(self, role: str) -> Pair:
        assert role == "admin"
        return self.shown


def test_a_strangers_certificate_is_refused(
    address: Address, keyring: Keyring, stranger: Keyring, sim: NodeSim
) -> None:
    keys = StrangersKeys(keyring.directory, keyring.store)
    keys.shown = stranger.pair("admin")
    with Client(address, keys) as client, pytest.raises(NotAdmittedError):
        client.node()
    assert sim.calls == []


def test_a_servers_own_certificate_commands_nobody(
    address: Address, keyring: Keyring, tmp_path: Path, sim: NodeSim
) -> None:
    keys = StrangersKeys(keyring.directory, keyring.store)
    keys.shown = Pair((tmp_path / "node.pem").read_bytes(), (tmp_path / "node.key").read_bytes())
    with Client(address, keys) as client, pytest.raises(NotAdmittedError):
        client.node()
    assert sim.calls == []


def test_no_certificate_no_answer(address: Address, keyring: Keyring, sim: NodeSim) -> None:
    context = ssl.create_default_context(cadata=keyring.ca_pem.decode())
    with (
        socket.create_connection((address.host, address.port)) as plain,
        context.wrap_socket(plain, server_hostname="flashvisor") as secured,
    ):
        # TLS 1.3: the client's handshake ends first; the server hangs up when it has seen no certificate.
        secured.settimeout(10)
        try:
            answer = secured.recv(1)
        except (ssl.SSLError, ConnectionResetError):
            answer = b""
    assert answer == b""
    assert sim.calls == []


def test_errors_cross_the_wire(address: Address, keyring: Keyring) -> None:
    with Client(address, keyring) as client, pytest.raises(UnknownGuestError, match="no guest 'ghost'"):
        client.stop_guest("ghost")


def test_nobody_listens(keyring: Keyring) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with Client(Address("127.0.0.1", free), keyring) as client:
        with pytest.raises(NodeUnreachableError, match="does not answer"):
            client.node()
        with pytest.raises(NodeUnreachableError), client.console("web"):
            pass


def test_console_carries_both_ways_until_it_closes(address: Address, keyring: Keyring) -> None:
    with Client(address, keyring) as client, client.console("web") as console:
        assert console.receive() == b"login: "
        console.send(b"root")
        assert console.receive() == b"hello root"
        assert console.receive() == b""
        console.send(b"lost")


def test_console_of_a_guest_that_is_not_there(address: Address, keyring: Keyring) -> None:
    with (
        Client(address, keyring) as client,
        pytest.raises(UnknownGuestError, match="no guest 'ghost'"),
        client.console("ghost"),
    ):
        pass


def test_console_is_the_owners_alone(address: Address, keyring: Keyring, stranger: Keyring) -> None:
    with Client(address, stranger) as client, pytest.raises(ForeignNodeError), client.console("web"):
        pass
    keys = StrangersKeys(keyring.directory, keyring.store)
    keys.shown = stranger.pair("admin")
    with Client(address, keys) as client, pytest.raises(NotAdmittedError), client.console("web"):
        pass


def test_a_server_that_dies_over_a_request_is_not_taken_for_one_that_refuses(keyring: Keyring, tmp_path: Path) -> None:
    identity = keyring.issue_node("alpha")
    (tmp_path / "node.pem").write_bytes(identity.key_pem + identity.cert_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "node.pem")
    heard: list[bytes] = []

    def hang_up(listener: socket.socket) -> None:
        for _ in range(2):  # the request, and the client's second look
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as secured:
                heard.append(secured.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        address = Address("127.0.0.1", listener.getsockname()[1])
        with Client(address, keyring) as client, pytest.raises(NodeUnreachableError):
            client.node()
        thread.join()
    assert heard[0].startswith(b"GET /v1/node")
    assert heard[1] == b""


def test_a_router_in_front_of_a_server_that_is_off_is_not_taken_for_one_that_refuses(keyring: Keyring) -> None:
    def reset(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        with plain:
            plain.recv(1)  # not before TLS has begun: Python's wrap_socket leaks a socket that is reset before
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=reset, args=(listener,))
        thread.start()
        address = Address("127.0.0.1", listener.getsockname()[1])
        assert isinstance(failure(ConnectionError(), address, tls_context(keyring)), NodeUnreachableError)
        thread.join()
