"""Updates through the whole agent behind real HTTPS: pushed by the command line, and fetched from a web server."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from flashvisor import errors
from flashvisor.api.address import parse_address
from flashvisor.api.client import Client
from flashvisor.api.flashtypes import UpdateRequest, UpdateStep
from flashvisor.api.offer import link
from flashvisor.api.routes import Routes
from flashvisor.cli.main import run
from flashvisor.host import https
from flashvisor.host.clock import ticks
from flashvisor.host.https import Fetcher, client_context
from flashvisor.node import updatesocket
from flashvisor.node.agent import Agent
from flashvisor.node.fakeslots import FakeSlots
from sim.agentkit import agent, make_ring, settings_of
from sim.reposim import MEMORY, NOW, image_of, manifest_of, repository, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.tools
LIMIT = 20.0  # seconds; a test that needs them has failed
OLD, NEW = image_of("kernel", "root", "more"), image_of("new kernel", "root", "more")
MANIFEST = manifest_of(NEW, "1.1")
TOLD = NOW.timestamp()


@pytest.fixture
def running(tmp_path: Path, keyring: Keyring) -> Iterator[Agent]:
    """The agent, booted, whose flash holds an identity and the owner's root of trust."""
    make_ring(tmp_path / "ring.img", keyring, trust=MEMORY)
    with agent(settings_of(tmp_path / "ring.img"), tmp_path / "console") as running:
        yield running


@pytest.fixture
def slots(running: Agent) -> FakeSlots:
    """The server's slots; a holds OLD."""
    assert running.parts
    found = running.parts.service._updates.slots
    assert isinstance(found, FakeSlots)
    found.image, found.version = OLD, "1.0"
    found.__post_init__()
    return found


@pytest.fixture
def client(running: Agent, slots: FakeSlots, keyring: Keyring) -> Iterator[Client]:
    del slots
    assert running.api
    with Client(parse_address(f"127.0.0.1:{running.api.port}"), keyring) as client:
        yield client


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """A directory of releases."""
    write(repository((MANIFEST, NEW)), tmp_path / "releases")
    return tmp_path / "releases"


class Handler(SimpleHTTPRequestHandler):
    """Serves a directory; /moved/X leads to where `target` says, /endless has no end."""

    protocol_version = "HTTP/1.1"  # connections are kept open
    target = ""
    connections: ClassVar[set[Any]] = set()
    hang_up = False  # after each answer, without a word

    def do_GET(self) -> None:
        self.connections.add(self.client_address)
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.target + self.path.removeprefix("/moved/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/releases/endless":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            try:
                while True:
                    self.wfile.write(bytes(65_536))
            except OSError:
                return
        elif self.path == "/releases/broken":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif self.path == "/releases/error":
            self.send_error(500)
        else:
            super().do_GET()
            self.close_connection = self.hang_up

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Says nothing."""


@contextmanager
def web(directory: Path, context: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    """A web server on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def server_tls(keyring: Keyring, directory: Path) -> ssl.SSLContext:
    """TLS of a web server with a certificate of the owner's CA for localhost."""
    identity = keyring.issue_node("localhost")
    (directory / "web.pem").write_bytes(identity.cert_pem + identity.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "web.pem")
    return context


def test_a_push_from_request_to_slot(client: Client, slots: FakeSlots, releases: Path) -> None:
    steps: list[UpdateStep] = []
    done = client.update(UpdateRequest(told=TOLD, probation=30.0), releases, steps.append)
    assert (done.version, done.image) == ("1.1", MANIFEST.sha256)
    assert 60_000 < done.downloaded < 100_000
    assert done.reused > 100_000
    assert steps[0].progress == "verifying the release"
    assert (steps[-2].done, steps[-2].total) == (len(NEW), len(NEW))
    report = client.slots()
    assert (report.running, report.committed, report.slots[2].image) == ("b", "b", MANIFEST.sha256)
    assert slots.wishes == [(False, 30.0, "")]
    assert client.update(UpdateRequest(told=TOLD), releases).already


def test_the_command_line_pushes_and_waits_for_the_commit(
    client: Client,
    releases: Path,
    keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FLASHVISOR_KEYS", str(keyring.directory))
    monkeypatch.setattr("flashvisor.host.clock.wall", lambda: TOLD)
    node = ["--node", str(client.address)]
    assert run(["update", str(releases), "--no-watch", *node]) == 0
    said = capsys.readouterr()
    assert "release 1.1 is in its slot" in said.out
    assert "getting the image" in said.err
    assert run(["update", str(releases), "--json", *node]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["installed"]["already"], outcome["committed"]) == (True, True)


def test_errors_arrive_as_what_they_are(client: Client, releases: Path) -> None:
    with pytest.raises(errors.NoSuchReleaseError, match=r"9\.9"):
        client.update(UpdateRequest(told=TOLD, version="9.9"), releases)
    with pytest.raises(errors.BadRequestError, match="vmware"):
        client.update(UpdateRequest(told=TOLD, flavour="vmware"), releases)


def test_a_wrong_chunk_among_many_on_their_way(client: Client, slots: FakeSlots, releases: Path) -> None:
    slots.image = b""
    slots.__post_init__()
    for path in sorted((releases / "chunks").rglob("*"))[:3]:
        if path.is_file():
            path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(errors.WrongHashError):
        client.update(UpdateRequest(told=TOLD), releases)
    write(repository((MANIFEST, NEW)), releases)
    assert client.update(UpdateRequest(told=TOLD), releases).version == "1.1"


def test_chunks_are_asked_for_ahead(
    client: Client, slots: FakeSlots, releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updatesocket, "AHEAD", 4)
    slots.image = b""
    slots.__post_init__()

    async def talk() -> list[str]:
        async with link(client._uri(Routes.UPDATE), client._tls) as connection:
            await connection.send(json.dumps({"told": TOLD}))
            wanted: list[str] = []
            while len(wanted) < 4:
                want = json.loads(await connection.recv()).get("want", "")
                if want.startswith("chunks/"):
                    wanted.append(want)  # and not answered
                elif want:
                    path = releases / want
                    await connection.send(path.read_bytes() if path.exists() else "")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.recv(), 0.2)
            return wanted

    wanted = asyncio.run(talk())
    assert len(set(wanted)) == 4


def test_a_client_that_goes_away_frees_the_server_for_the_next_one(
    client: Client, slots: FakeSlots, releases: Path
) -> None:
    async def talk() -> None:
        async with link(client._uri(Routes.UPDATE), client._tls) as connection:
            await connection.send(json.dumps({"told": TOLD}))
            await connection.recv()
            with pytest.raises(errors.BusyError):
                await asyncio.to_thread(client.update, UpdateRequest(told=TOLD), releases)

    asyncio.run(talk())
    done = None
    for _ in ticks(0.05, LIMIT):
        try:
            done = client.update(UpdateRequest(told=TOLD), releases)
        except errors.BusyError:
            continue
        break
    assert done
    assert slots.report().committed == "b"


@pytest.mark.parametrize(
    "message", ["", "{", '{"told": 1, "more": 2}', '{"told": "x"}', '{"told": 1e300}', "x" * 100_000]
)
def test_a_first_message_that_is_no_request(client: Client, message: str) -> None:
    async def talk() -> Any:  # noqa: ANN401 - JSON
        async with link(client._uri(Routes.UPDATE), client._tls) as connection:
            await connection.send(message)
            return json.loads(await connection.recv())

    step = asyncio.run(talk())
    assert step["error"]["code"] == "FV-NODE-010"


def test_the_server_fetches_from_a_web_server_of_the_owners(
    client: Client, slots: FakeSlots, releases: Path, keyring: Keyring, tmp_path: Path
) -> None:
    with web(tmp_path, server_tls(keyring, tmp_path)) as server:
        url = f"https://localhost:{server.server_address[1]}/releases/"
        done = client.update(UpdateRequest(told=TOLD, url=url))
    assert (done.version, slots.report().committed) == ("1.1", "b")
    assert done.downloaded < 100_000


def test_an_update_by_url_goes_on_without_its_client(
    client: Client, slots: FakeSlots, releases: Path, tmp_path: Path
) -> None:
    del releases
    with web(tmp_path) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/releases"

        async def ask() -> None:
            async with link(client._uri(Routes.UPDATE), client._tls) as connection:
                await connection.send(json.dumps({"told": TOLD, "url": url}))
                await connection.recv()

        asyncio.run(ask())
        for _ in ticks(0.05, LIMIT):
            if slots.report().committed == "b":
                break
    assert slots.report().committed == "b"


def test_a_bug_in_an_update_is_reported_as_one(
    client: Client, releases: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:  # noqa: ANN401 - any call
        raise ZeroDivisionError

    monkeypatch.setattr(FakeSlots, "install", broken)
    with pytest.raises(errors.StrangeAnswerError, match="FV-BUG"):
        client.update(UpdateRequest(told=TOLD), releases)
    assert "an update ran into a bug" in caplog.text


def test_the_server_fetches_over_http_what_is_signed(client: Client, releases: Path, tmp_path: Path) -> None:
    with web(tmp_path) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/releases"
        (releases / "1.snapshot.json").write_bytes(b"{}")
        with pytest.raises(errors.TrustError):
            client.update(UpdateRequest(told=TOLD, url=url))
        write(repository((MANIFEST, NEW)), releases)
        assert client.update(UpdateRequest(told=TOLD, url=url)).version == "1.1"


def test_a_web_server_of_a_stranger_is_not_trusted(
    client: Client, releases: Path, keyring: Keyring, stranger: Keyring, tmp_path: Path
) -> None:
    del releases, keyring
    with web(tmp_path, server_tls(stranger, tmp_path)) as server:
        url = f"https://localhost:{server.server_address[1]}/releases"
        with pytest.raises(errors.ReleaseSourceError) as caught:
            client.update(UpdateRequest(told=TOLD, url=url))
    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.evidence


def test_what_a_web_server_may_do(releases: Path, keyring: Keyring, tmp_path: Path) -> None:
    (releases / "timestamp.json").write_bytes(b"x" * 1000)
    with web(tmp_path) as server:
        base = f"http://127.0.0.1:{server.server_address[1]}/releases"
        with Fetcher(base, client_context(keyring.ca_pem.decode())) as fetcher:
            assert fetcher.fetch("timestamp.json", 1000) == b"x" * 1000
            assert fetcher.fetch("timestamp.json", 999) == b"x" * 1000
            assert fetcher.fetch("timestamp.json", 10) == b"x" * 11
            assert fetcher.fetch("2.root.json", 10) is None
            assert fetcher.fetch("endless", 100_000) == bytes(100_001)
            assert fetcher.fetch("timestamp.json", 1000) == b"x" * 1000
            for name in ("broken", "error"):
                with pytest.raises(errors.ReleaseSourceError, match=name):
                    fetcher.fetch(name, 1000)


def test_one_connection_serves_for_many_files(releases: Path, keyring: Keyring, tmp_path: Path) -> None:
    chunks = sorted(str(path.relative_to(releases)) for path in (releases / "chunks").rglob("*") if path.is_file())
    with web(tmp_path) as server:
        Handler.connections.clear()
        base = f"http://127.0.0.1:{server.server_address[1]}/releases"
        with Fetcher(base, client_context(keyring.ca_pem.decode())) as fetcher:
            for chunk in chunks:
                assert fetcher.fetch(chunk, 1 << 20) == (releases / chunk).read_bytes()
        assert len(Handler.connections) == 1
    assert len(chunks) > 5


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_again(
    releases: Path, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del releases
    monkeypatch.setattr(Handler, "hang_up", True)
    with web(tmp_path) as server:
        base = f"http://127.0.0.1:{server.server_address[1]}/releases"
        with Fetcher(base, client_context(keyring.ca_pem.decode())) as fetcher:
            for _ in range(3):
                assert fetcher.fetch("timestamp.json", 10_000)


def test_a_server_that_drips_is_left(
    releases: Path, keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "FILE_LIMIT", 0.0)
    del releases
    with web(tmp_path) as server:
        base = f"http://127.0.0.1:{server.server_address[1]}/releases"
        with (
            Fetcher(base, client_context(keyring.ca_pem.decode())) as fetcher,
            pytest.raises(errors.ReleaseSourceError, match="took longer"),
        ):
            fetcher.fetch("endless", 1_000_000)


def test_redirects_lead_to_tls_only(releases: Path, keyring: Keyring, tmp_path: Path) -> None:
    (releases / "timestamp.json").write_bytes(b"here")
    context = client_context(keyring.ca_pem.decode())
    with web(tmp_path, server_tls(keyring, tmp_path)) as secure, web(tmp_path) as plain:
        Handler.target = f"https://localhost:{secure.server_address[1]}/releases/"
        with Fetcher(f"http://127.0.0.1:{plain.server_address[1]}/moved", context) as fetcher:
            assert fetcher.fetch("timestamp.json", 100) == b"here"
            assert fetcher.fetch("2.root.json", 100) is None
            Handler.target = f"http://127.0.0.1:{plain.server_address[1]}/releases/"
            with pytest.raises(errors.ReleaseSourceError, match="only https"):
                fetcher.fetch("timestamp.json", 100)
        Handler.target = f"https://localhost:{secure.server_address[1]}/moved/"
        with (
            Fetcher(f"https://localhost:{secure.server_address[1]}/moved", context) as fetcher,
            pytest.raises(errors.ReleaseSourceError, match="more than 5 redirects"),
        ):
            fetcher.fetch("timestamp.json", 100)


def test_nobody_there(keyring: Keyring) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            Fetcher(base, client_context(keyring.ca_pem.decode())) as fetcher,
            pytest.raises(errors.ReleaseSourceError, match="cannot be fetched"),
        ):
            fetcher.fetch("timestamp.json", 100)
