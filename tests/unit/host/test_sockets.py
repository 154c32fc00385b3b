"""Unix sockets deeper than an address is long, and ports that are really free."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import NoFreePortError
from flashvisor.host import sockets

if TYPE_CHECKING:
    from pathlib import Path


def test_a_socket_far_down_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("qmp.sock")
        server.listen(1)
        monkeypatch.chdir(tmp_path)
        with sockets.connect(deep, "qmp.sock", limit=5) as client:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"hello")
            assert client.recv(10) == b"hello"


def test_nobody_there_is_an_error_and_leaks_nothing(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - descriptors, as names
    for _ in range(3):
        with pytest.raises(OSError, match="No such file"):
            sockets.connect(tmp_path, "qmp.sock", limit=1)
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208


def test_a_free_port_is_free_and_in_range() -> None:
    port = sockets.free_port()
    assert sockets.FIRST_PORT <= port <= sockets.LAST_PORT
    assert sockets.is_free(port)
    with socket.socket() as server:
        server.bind((sockets.LOOPBACK, port))
        server.listen(1)
        assert not sockets.is_free(port)


def test_ports_of_servers_that_are_off_are_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "FIRST_PORT", 20000)
    monkeypatch.setattr(sockets, "LAST_PORT", 20002)
    monkeypatch.setattr(sockets, "is_free", lambda port: port != 20001)
    assert sockets.free_port({20000}) == 20002
    with pytest.raises(NoFreePortError, match="20000 to 20002"):
        sockets.free_port({20000, 20002})
