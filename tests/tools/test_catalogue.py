"""Each appliance of the catalogue: built for real, opened, started with the memory it is said to need, and spoken to.

What they keep is looked at from outside: on the disk, after the power button.
"""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.host import clock, sockets
from flashvisor.host.bubblewrap import enter
from flashvisor.host.files import MIB
from flashvisor.image import catalogue
from flashvisor.image.catalogue import SETTINGS
from flashvisor.image.trees import build_root
from flashvisor.model.site import Appliance
from tools.appliancekit import assert_nobody_can_log_in, take_apart
from tools.guestbench import ATTEMPT, Running, boot, fetch, until
from tools.protocols import HOST, Mqtt, Wire, dns_addresses, ntp_time, redis, send_udp, tcp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.tools

NAMES = [name for name in catalogue.names() if name != "hello"]
LIMIT = 120.0  # seconds; a few on an idle machine
GUEST, SERVER = "10.0.2.15", "10.0.2.2"  # what QEMU's own DHCP gives the guest, and its way to this machine
DISK_SIZE, GROWN = 64 * MIB, 96 * MIB  # bytes
BLOCK = 4096  # bytes of the file system


@contextmanager
def started(
    name: str, place: Path, *forwards: str, files: Mapping[str, str] | None = None, disk: Path | None = None
) -> Iterator[Running]:
    """Gives a running appliance that has not come to an end by itself."""
    parts = take_apart(name, place, Appliance(files=dict(files or {})))
    with boot(place, parts.hardware(disk=disk), forwards=forwards) as running:
        yield running
    assert "panic" not in running.serial()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A blank disk."""
    path = tmp_path / "disk.img"
    path.touch()
    resize(path, DISK_SIZE)
    return path


def resize(disk: Path, size: int) -> None:
    with disk.open("r+b") as file:
        file.truncate(size)


def read_disk(disk: Path, request: str) -> str:
    """What debugfs(8) says about the file system on a disk."""
    argv = ["debugfs", "-R", request, f"/mnt/{disk.name}"]
    return enter(build_root(open_cache()), argv, binds={disk.parent: "/mnt"}).stdout


@contextmanager
def web_server(seen: list[str]) -> Iterator[int]:
    """A web server on this machine that notes whom it is asked for; yields its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["X-Forwarded-For"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"behind {self.path}".encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer((HOST, 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def status(url: str, method: str, data: bytes | None = None) -> int:
    """The status that a web server answers with."""
    try:
        with urlopen(Request(url, data=data, method=method), timeout=ATTEMPT) as answer:  # noqa: S310 - our own loopback
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_nobody_can_log_in(name: str, tmp_path: Path) -> None:
    parts = take_apart(name, tmp_path)
    assert (tmp_path / f"{name}.efi").stat().st_size == parts.size < 10_000_000
    assert_nobody_can_log_in(parts)


def test_web_serves_pages_of_the_site_and_of_its_disk(tmp_path: Path, disk: Path) -> None:
    upload = "root /data; dav_methods PUT; create_full_put_path on;"
    settings = catalogue.filled(catalogue.load("web"))[SETTINGS]
    more = f"server {{ listen 81; location / {{ {upload} }} location /etc/ {{ {upload.replace('/data', '/')} }} }}"
    files = {SETTINGS: settings, "/etc/site.d/upload.conf": more, "/srv/www/own.html": "<p>from the site</p>"}
    with started("web", tmp_path, "tcp:80", "tcp:81", files=files, disk=disk) as running:
        pages, uploads = (f"http://{HOST}:{running.ports[name]}" for name in ("tcp:80", "tcp:81"))
        assert "<h1>It serves</h1>" in fetch(f"{pages}/", limit=LIMIT)[0]
        assert fetch(f"{pages}/own.html", limit=LIMIT)[0] == "<p>from the site</p>"
        assert status(f"{pages}/none", "GET") == 404
        assert status(f"{uploads}/new/page.html", "PUT", b"put") == 201
        assert fetch(f"{pages}/new/page.html", limit=LIMIT)[0] == "put"
        # It is not root: what is not its own, it cannot write.
        assert status(f"{uploads}/etc/x", "PUT", b"put") in {403, 500}
        running.push_power_button(limit=LIMIT)
    assert read_disk(disk, "cat /new/page.html") == "put"


def test_proxy_stands_before_another_server(tmp_path: Path) -> None:
    seen: list[str] = []
    with web_server(seen) as behind:
        settings = f"server {{ listen 80; location / {{ proxy_pass http://{SERVER}:{behind}; }} }}"
        with started("proxy", tmp_path, "tcp:80", files={SETTINGS: settings}) as running:
            page, server = fetch(f"http://{HOST}:{running.ports['tcp:80']}/a/b", limit=LIMIT)
    assert (page, server) == ("behind /a/b", "nginx")
    assert set(seen) == {SERVER}


def test_dns_knows_names_and_gives_addresses(tmp_path: Path) -> None:
    near, far = sockets.free_port(), sockets.free_port()
    settings = "host-record=files.lan,10.0.2.77\ndhcp-range=10.0.2.100,10.0.2.110,1h\ndomain=lan\nno-ping\n"
    wish = Appliance(files={SETTINGS: settings}, address=f"{GUEST}/24", gateway=SERVER, dns=("10.0.2.3",))
    parts = take_apart("dns", tmp_path, wish)
    # A hub, on which there are the guest, QEMU's own network, and the end of a cable.
    hub = [word for port, net in (("card", ""), ("p1", ",netdev=net"), ("p2", ",netdev=wire"))
           for word in ("-netdev", f"hubport,hubid=0,id={port}{net}")]  # fmt: skip
    cable = ["-netdev", f"socket,id=wire,udp={HOST}:{near},localaddr={HOST}:{far}"]
    with (
        closing(Wire(near, far, bytes.fromhex("525400000099"))) as wire,
        boot(tmp_path, [*parts.hardware(), *cable, *hub], forwards=["udp:53"], card="card") as running,
    ):
        port = running.ports["udp:53"]
        assert until(lambda: dns_addresses(port, "files.lan"), limit=LIMIT) == ["10.0.2.77"]
        address = until(lambda: wire.lease(GUEST, "printer"), limit=LIMIT)
        assert address.startswith("10.0.2.1")
        assert until(lambda: dns_addresses(port, "printer.lan"), limit=LIMIT) == [address]
    assert "panic" not in running.serial()


def test_ntp_tells_the_time(tmp_path: Path) -> None:
    with started("ntp", tmp_path, "udp:123", files={SETTINGS: "local stratum 10\nallow all\n"}) as running:
        stratum, time = until(lambda: ntp_time(running.ports["udp:123"]), limit=LIMIT)
    assert stratum == 10
    assert abs(time - clock.wall()) < 60


def test_cache_keeps_what_it_is_given_while_it_runs(tmp_path: Path) -> None:
    def ping() -> bytes:
        with tcp(running.ports["tcp:6379"]) as connection:
            return redis(connection, "PING")

    with started("cache", tmp_path, "tcp:6379") as running:
        assert until(ping, limit=LIMIT) == b"+PONG"
        with tcp(running.ports["tcp:6379"]) as connection:
            assert redis(connection, "SET", "color", "blue") == b"+OK"
        with tcp(running.ports["tcp:6379"]) as connection:
            assert redis(connection, "GET", "color") == b"blue"
            assert redis(connection, "GET", "size") == b"$-1"
            # The doors by which others have left such a server are closed.
            assert redis(connection, "CONFIG", "SET", "dir", "/etc").startswith(b"-ERR")
            assert redis(connection, "MODULE", "LOAD", "/usr/lib/x.so").startswith(b"-ERR")


def test_mqtt_passes_on_and_keeps_what_is_retained(tmp_path: Path, disk: Path) -> None:
    def listen() -> tuple[str, str]:
        with tcp(running.ports["tcp:1883"]) as connection:
            listener = Mqtt(connection, "listener")
            listener.subscribe("kept/#")
            return listener.message()

    with started("mqtt", tmp_path, "tcp:1883", disk=disk) as running:
        until(lambda: _publish(running.ports["tcp:1883"]), limit=LIMIT)
        assert listen() == ("kept/door", "open")
        running.push_power_button(limit=LIMIT)
    resize(disk, GROWN)
    with started("mqtt", tmp_path, "tcp:1883", disk=disk) as running:
        assert until(listen, limit=LIMIT) == ("kept/door", "open")
        running.push_power_button(limit=LIMIT)
    # The file system has grown into the disk, and was closed cleanly.
    words = {name.strip(): value.strip() for name, _, value in _lines(read_disk(disk, "stats"))}
    assert int(words["Block count"]) * BLOCK == GROWN
    assert words["Filesystem state"] == "clean"
    assert "needs_recovery" not in words["Filesystem features"]


def _publish(port: int) -> None:
    with tcp(port) as connection, tcp(port) as other:
        listener, speaker = Mqtt(connection, "a"), Mqtt(other, "b")
        listener.subscribe("lamp")
        speaker.publish("kept/door", "open", retain=True)
        speaker.publish("lamp", "on")
        assert listener.message() == ("lamp", "on")


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    return (line.partition(":") for line in text.splitlines())


def test_syslog_writes_down_what_comes_by_udp_and_tcp(tmp_path: Path, disk: Path) -> None:
    # A collector does not answer, and QEMU takes connections for guests that do not listen yet: the console tells.
    shown = {"/etc/site.d/console.conf": 'action(type="omfile" file="/dev/console")\n'}
    with started("syslog", tmp_path, "tcp:514", "udp:514", files=shown, disk=disk) as running:

        def send(way: str) -> None:
            message = f"<13>Nov 24 12:00:00 printer lp: by {way}\n".encode()
            if way == "udp":
                send_udp(running.ports["udp:514"], message)
            else:
                with tcp(running.ports["tcp:514"]) as connection:
                    connection.sendall(message)
            if f"printer lp: by {way}" not in running.serial():
                raise ConnectionError("not on the console yet")

        for way in ("udp", "tcp"):
            until(lambda way=way: send(way), limit=LIMIT)  # type: ignore[misc]
        running.push_power_button(limit=LIMIT)
    lines = read_disk(disk, "cat /messages.log").splitlines()
    for way in ("udp", "tcp"):
        assert any(line.endswith(f"printer lp: by {way}") for line in lines), lines


def test_a_disk_with_something_else_on_it_is_left_alone(tmp_path: Path, disk: Path) -> None:
    with disk.open("r+b") as file:
        file.seek(MIB - 5)
        file.write(b"diary")
    before = disk.read_bytes()
    parts = take_apart("syslog", tmp_path)
    with boot(tmp_path, parts.hardware(disk=disk), forwards=[]) as running:
        running.wait_for_end(limit=LIMIT)
    assert "appliance: its disk cannot be mounted, and is not blank: it was left as it is" in running.serial()
    assert disk.read_bytes() == before


def test_a_service_that_ends_is_told_on_the_console(tmp_path: Path) -> None:
    parts = take_apart("dns", tmp_path, Appliance(files={SETTINGS: "no-such-setting\n"}))
    with boot(tmp_path, parts.hardware(), forwards=[]) as running:
        running.wait_for_end(limit=LIMIT)
    assert "bad option" in running.serial()
    assert "appliance: the service ended: /usr/sbin/dnsmasq" in running.serial()
