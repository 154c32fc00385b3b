"""Consoles: what was said before is heard first, and typing reaches the guest."""

from __future__ import annotations

import queue
import socket
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import GuestStateError
from flashvisor.node.consolehub import SCROLLBACK, ConsoleHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 10.0  # seconds; a test that needs them has failed


@pytest.fixture
def hub() -> Iterator[ConsoleHub]:
    with ConsoleHub() as hub:
        yield hub


@pytest.fixture
def guest(hub: ConsoleHub, tmp_path: Path) -> Iterator[socket.socket]:
    """The guest's end of its console."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        assert hub.watch("web", tmp_path / "sock")
        channel, _ = listener.accept()
        channel.settimeout(LIMIT)
        with channel:
            yield channel


class Ear:
    """Collects what a listener hears."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            data += self.heard.get(timeout=LIMIT)
        return data


def test_both_ways(hub: ConsoleHub, guest: socket.socket) -> None:
    ear = Ear()
    hub.attach("web", ear.heard.put)
    guest.sendall(b"login: ")
    assert ear.until(b"login: ") == b"login: "
    hub.send("web", b"root\r")
    assert guest.recv(100) == b"root\r"


def test_who_comes_late_hears_the_last_64_kib_first(hub: ConsoleHub, guest: socket.socket) -> None:
    first, late = Ear(), Ear()
    hub.attach("web", first.heard.put)
    guest.sendall(b"a" * SCROLLBACK + b"the end")
    first.until(b"the end")
    hub.attach("web", late.heard.put)
    heard = late.heard.get(timeout=LIMIT)
    assert len(heard) == SCROLLBACK
    assert heard.endswith(b"athe end")


def test_a_listener_that_left_hears_no_more(hub: ConsoleHub, guest: socket.socket) -> None:
    left, stays = Ear(), Ear()
    detach = hub.attach("web", left.heard.put)
    hub.attach("web", stays.heard.put)
    detach()
    guest.sendall(b"x")
    stays.until(b"x")
    assert left.heard.empty()


def test_the_end_of_a_guest_is_heard_and_its_console_is_gone(hub: ConsoleHub, guest: socket.socket) -> None:
    ear = Ear()
    hub.attach("web", ear.heard.put)
    guest.close()
    assert ear.heard.get(timeout=LIMIT) == b""
    with pytest.raises(GuestStateError, match="does not run"):
        hub.attach("web", ear.heard.put)


def test_a_console_that_nobody_serves(hub: ConsoleHub, tmp_path: Path) -> None:
    assert not hub.watch("web", tmp_path / "none")
    with pytest.raises(GuestStateError):
        hub.send("web", b"x")
