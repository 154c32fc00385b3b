"""Downloads: they go on where they stopped, and what comes is compared before it is believed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import httpx
import pytest

from flashvisor.errors import CommandLineError, DownloadError, NoSpaceError, WrongChecksumError
from flashvisor.transfer import download as module
from flashvisor.transfer.download import download
from sim.importkit import unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()
URL = "https://example.com/disk.qcow2"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESERVE", 0)


class Server:
    """Serves DATA; breaks off after `breaks` bytes, knows ranges or not."""

    def __init__(self, *, breaks: int | None = None, ranges: bool = True, data: bytes = DATA) -> None:
        self.breaks, self.ranges, self.data = breaks, ranges, data
        self.asked: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if asked and self.ranges and start >= len(self.data):
            return httpx.Response(416)
        status = 206 if asked and self.ranges else 200
        headers = {"Content-Length": str(len(self.data) - start)}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        return httpx.Response(status, headers=headers, stream=Body(self.data[start:], self.breaks))


class Body(httpx.SyncByteStream):
    def __init__(self, data: bytes, breaks: int | None) -> None:
        self.data, self.breaks = data, breaks

    def __iter__(self) -> Iterator[bytes]:
        yield self.data[: self.breaks]
        if self.breaks is not None and self.breaks < len(self.data):
            raise httpx.ReadError("connection lost")


def fetch(server: Callable[[httpx.Request], httpx.Response], target: Path, sha256: str = SHA256) -> None:
    download(URL, target, sha256, unseen, transport=httpx.MockTransport(server))


def test_a_file_is_fetched(tmp_path: Path) -> None:
    fetch(Server(), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


@pytest.mark.parametrize("ranges", [True, False])
def test_it_goes_on_where_it_stopped_if_the_server_can(tmp_path: Path, ranges: bool) -> None:
    target = tmp_path / "x"
    with pytest.raises(DownloadError, match=r"disk\.qcow2"):
        fetch(Server(breaks=1000), target)
    assert target.stat().st_size == 1000
    server = Server(ranges=ranges)
    fetch(server, target)
    assert server.asked == ["bytes=1000-"]
    assert target.read_bytes() == DATA


def test_a_whole_file_is_only_checked(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    server = Server()
    fetch(server, tmp_path / "x")
    assert server.asked == []


def test_more_than_there_is_is_another_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA + b"more")
    with pytest.raises(WrongChecksumError):
        fetch(Server(), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_another_file_is_removed(tmp_path: Path) -> None:
    with pytest.raises(WrongChecksumError, match=SHA256):
        fetch(Server(data=b"other"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("status", [404, 500, 304])
def test_answers_that_are_none(tmp_path: Path, status: int) -> None:
    (tmp_path / "x").write_bytes(b"begun")
    with pytest.raises(DownloadError, match=str(status)):
        fetch(lambda _: httpx.Response(status), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"begun"


def test_another_part_than_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"begun")
    with pytest.raises(DownloadError, match="another part"):
        fetch(lambda _: httpx.Response(206, headers={"Content-Range": "bytes 0-9/99"}), tmp_path / "x")


def test_redirects_come_to_an_end(tmp_path: Path) -> None:
    with pytest.raises(DownloadError):
        fetch(lambda request: httpx.Response(302, headers={"Location": str(request.url)}), tmp_path / "x")


def test_a_disk_without_room(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError):
        fetch(lambda _: httpx.Response(200, headers={"Content-Length": str(1 << 60)}), tmp_path / "x")


def test_an_endless_answer_is_stopped_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPACE_STEP", 1 << 20)
    looks: list[int] = []

    def look(_place: Path, need: int, _purpose: str) -> None:
        looks.append(need)
        if len(looks) > 3:
            raise NoSpaceError("full")

    monkeypatch.setattr(module, "need_space", look)

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    with pytest.raises(NoSpaceError):
        fetch(lambda _: httpx.Response(200, content=endless()), tmp_path / "x")
    assert (tmp_path / "x").stat().st_size <= 4 << 20


def test_what_is_no_url(tmp_path: Path) -> None:
    with pytest.raises(CommandLineError, match="is no URL"):
        download("http://[::1", tmp_path / "x", SHA256, unseen)


def test_a_host_that_is_no_name(tmp_path: Path) -> None:
    def look_up(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content="...".encode("idna"))  # as socket.getaddrinfo does it

    with pytest.raises(CommandLineError, match="is no URL"):
        fetch(look_up, tmp_path / "x")
