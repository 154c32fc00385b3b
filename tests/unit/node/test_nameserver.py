"""The name server's sockets, on loopback addresses, with a name server of the world beside it."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from flashvisor.host.clock import ticks
from flashvisor.model.dnsmessage import A, Code
from flashvisor.node import nameserver
from flashvisor.node.nameserver import Nameserver
from flashvisor.node.zones import Zone
from sim.dns import FAR, code_of, data_of, query, world

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE, THERE = "127.0.0.3", "127.0.0.4"
OTHER, SILENT = "127.0.0.6", "127.0.0.7"
WEB = IPv4Address("10.77.0.10")
ZONE = Zone(IPv4Address(HERE), "inside.internal", {"web": (WEB,)}, world=True)
LIMIT = 5.0  # seconds


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((HERE, 0))
        return int(free.getsockname()[1])


@pytest.fixture
def names(port: int) -> Iterator[Nameserver]:
    names = Nameserver(lambda: [THERE], port=port)
    names.serve((ZONE,))
    yield names
    names.close()


def ask(port: int, message: bytes) -> bytes:
    """Asks by UDP, as often as it takes: the server starts in a thread of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1.0)
        client.connect((HERE, port))
        for _ in ticks(0.05, LIMIT):
            try:
                client.send(message)
                return client.recv(1 << 16)
            except OSError:
                continue
    pytest.fail("no answer")


def call(port: int, message: bytes, place: str = HERE) -> bytes:
    with socket.create_connection((place, port), timeout=LIMIT) as client:
        client.sendall(struct.pack(">H", len(message)) + message)
        head = client.recv(2)
        return client.recv(struct.unpack(">H", head)[0]) if head else b""


@pytest.mark.usefixtures("names")
def test_guests_names_are_answered_by_datagram_and_by_call(port: int) -> None:
    assert data_of(ask(port, query("web", A))) == [WEB.packed]
    assert data_of(call(port, query("web.inside.internal", A))) == [WEB.packed]


@pytest.mark.usefixtures("names")
def test_everything_else_is_passed_on_and_its_answer_back(port: int) -> None:
    with world(THERE, port) as asked:
        assert data_of(ask(port, query("debian.org", A))) == [FAR]
        assert data_of(call(port, query("kernel.org", A))) == [FAR]
        assert asked == ["debian.org", "kernel.org"]
        ask(port, query("web", A))
        ask(port, query("secret.internal", A))
        assert asked == ["debian.org", "kernel.org"], "private names stay here"


@pytest.mark.usefixtures("names")
def test_without_a_name_server_outside_it_says_that_it_failed(port: int) -> None:
    ask(port, query("web", A))
    assert code_of(call(port, query("debian.org", A))) == Code.FAILED


def test_without_any_name_server_known_it_says_so_at_once(port: int) -> None:
    names = Nameserver(list, port=port)
    names.serve((ZONE,))
    try:
        assert code_of(ask(port, query("debian.org", A))) == Code.FAILED
    finally:
        names.close()


def test_the_next_question_goes_to_the_next_server_when_one_is_silent(port: int) -> None:
    names = Nameserver(lambda: ["127.0.0.5", THERE], port=port)
    names.serve((ZONE,))
    try:
        with world(THERE, port):
            # Nobody listens at the first: the kernel says so, and the client asks again.
            replies = (ask(port, query("debian.org", A, identity=each)) for each in range(1, 9))
            assert any(data_of(reply) == [FAR] for reply in replies)
    finally:
        names.close()


def test_a_server_that_cannot_be_asked_costs_no_question(port: int) -> None:
    # The first is no address; to send to the second, the kernel wants SO_BROADCAST.
    names = Nameserver(lambda: ["fe80::1%a..b", "255.255.255.255", THERE], port=port)
    names.serve((ZONE,))
    try:
        with world(THERE, port):
            ask(port, query("web", A))
            assert data_of(ask(port, query("debian.org", A))) == [FAR], "the first question already"
    finally:
        names.close()


def test_one_network_does_not_take_the_questions_and_calls_of_another(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nameserver, "MOST_ASKED", nameserver.SHARE)
    monkeypatch.setattr(nameserver, "MOST_CALLS", nameserver.SHARE)
    names = Nameserver(lambda: [SILENT], port=port)
    names.serve((ZONE, replace(ZONE, listen=IPv4Address(OTHER))))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((SILENT, port))
            silent.settimeout(LIMIT)
            ask(port, query("web", A))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(query("debian.org", A), (HERE, port))
                silent.recv(1 << 16)
                assert code_of(ask(port, query("kernel.org", A))) == Code.FAILED
                client.sendto(query("python.org", A), (OTHER, port))
                assert b"python" in silent.recv(1 << 16)
        with (
            socket.create_connection((HERE, port), timeout=LIMIT),
            socket.create_connection((HERE, port), timeout=LIMIT) as one_too_many,
        ):
            assert one_too_many.recv(1) == b""
            assert data_of(call(port, query("web", A), OTHER)) == [WEB.packed]
        for _ in ticks(0.02, LIMIT):
            with suppress(ConnectionResetError):
                assert data_of(call(port, query("web", A))) == [WEB.packed]
                return
        pytest.fail("who is done leaves no room")
    finally:
        names.close()


def test_an_answer_that_never_comes_is_forgotten(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nameserver, "PATIENCE", 0.05)
    names = Nameserver(lambda: [THERE], port=port)
    names.serve((ZONE,))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((THERE, port))
            ask(port, query("web", A))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(query("debian.org", A), (HERE, port))
                silent.settimeout(LIMIT)
                silent.recv(1 << 16)
                assert any(names.open_questions == 0 for _ in ticks(0.02, LIMIT))
    finally:
        names.close()


def test_names_change_without_losing_the_place(names: Nameserver, port: int) -> None:
    assert code_of(ask(port, query("db", A))) == Code.NO_SUCH_NAME
    names.serve((replace(ZONE, names={"db": (WEB,)}),))
    assert any(data_of(ask(port, query("db", A))) == [WEB.packed] for _ in ticks(0.02, LIMIT))


def test_a_network_that_goes_is_no_longer_served(names: Nameserver, port: int) -> None:
    ask(port, query("web", A))
    names.serve(())
    for _ in ticks(0.02, LIMIT):
        try:
            socket.create_connection((HERE, port), timeout=1.0).close()
        except ConnectionResetError:
            continue  # the kernel had taken the call before the listener was closed
        except ConnectionRefusedError:
            return
    pytest.fail("it still listens")


@pytest.mark.usefixtures("names")
def test_what_is_no_question_gets_no_answer_and_harms_nobody(port: int) -> None:
    ask(port, query("web", A))
    assert call(port, b"nonsense") == b""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"nonsense", (HERE, port))
        client.sendto(query("web", A), (HERE, port))
        client.settimeout(LIMIT)
        assert data_of(client.recv(1 << 16)) == [WEB.packed]


def test_a_server_that_never_served_ends_at_once() -> None:
    Nameserver(list).close()
