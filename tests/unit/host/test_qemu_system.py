"""QEMU's monitor protocol against a QEMU that says just what the test gives it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.errors import MonitorError
from flashvisor.host.qemu_system import Qmp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GREETING = b'{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}\r\n'
EMPTY = b'{"return": {}}\r\n'
RESET = b'{"event": "RESET", "data": {"guest": false}, "timestamp": {"seconds": 1, "microseconds": 2}}\r\n'


class Peer:
    """QEMU's end of the monitor."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def say(self, *lines: bytes) -> None:
        self.connection.sendall(b"".join(lines))

    def heard(self) -> list[dict[str, object]]:
        lines = self.connection.recv(65536).splitlines()
        return [msgspec.json.decode(line) for line in lines]


@pytest.fixture
def pair() -> Iterator[tuple[Qmp, Peer]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.2)
    with Qmp(ours) as qmp, theirs:
        yield qmp, Peer(theirs)


def test_greeting_then_capabilities(pair: tuple[Qmp, Peer]) -> None:
    qmp, peer = pair
    peer.say(GREETING, EMPTY)
    qmp.greet()
    assert peer.heard() == [{"execute": "qmp_capabilities", "arguments": {}}]


def test_events_between_are_kept_and_the_answer_is_returned(pair: tuple[Qmp, Peer]) -> None:
    qmp, peer = pair
    peer.say(RESET, b'{"return": {"status": "running"}}\r\n')
    assert qmp.execute("query-status") == {"status": "running"}
    assert qmp.events == ["RESET"]
    qmp.wait_event("RESET", limit=0.1)


def test_a_null_answer_is_an_answer(pair: tuple[Qmp, Peer]) -> None:
    qmp, peer = pair
    peer.say(b'{"return": null}\r\n')
    assert qmp.execute("x") is None


def test_the_human_monitor_gets_its_line_and_gives_its_words(pair: tuple[Qmp, Peer]) -> None:
    qmp, peer = pair
    peer.say(b'{"return": "no such rule\\r\\n"}\r\n')
    assert qmp.hmp("hostfwd_remove a b") == "no such rule"
    assert peer.heard() == [{"execute": "human-monitor-command", "arguments": {"command-line": "hostfwd_remove a b"}}]


def test_a_refusal_is_told_in_qemus_words(pair: tuple[Qmp, Peer]) -> None:
    qmp, peer = pair
    peer.say(b'{"error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}\r\n')
    with pytest.raises(MonitorError, match="refuses 'x': The command x has not been found"):
        qmp.execute("x")


def test_silence_is_an_error(pair: tuple[Qmp, Peer]) -> None:
    qmp, _ = pair
    with pytest.raises(MonitorError, match="did not give an answer"):
        qmp.execute("query-status")
    with pytest.raises(MonitorError, match="event RESET"):
        qmp.wait_event("RESET", limit=0.1)


def test_a_qemu_that_ends_is_an_error(pair: tuple[Qmp, Peer]) -> None:
    qmp, peer = pair
    peer.connection.shutdown(socket.SHUT_WR)
    with pytest.raises(MonitorError, match="QEMU ended"):
        qmp.execute("query-status")
    peer.connection.close()
    with pytest.raises(MonitorError):
        qmp.execute("query-status")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match="cannot be reached"):
        Qmp.connect(tmp_path)
