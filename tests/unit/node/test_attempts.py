"""One question at a time, to guests that answer well, badly, slowly, or for ever."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from flashvisor.node.attempts import LINE_LIMIT, SAID_LIMIT, Call, Ear
from flashvisor.node.questions import Http, Serial, Tcp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 10.0  # seconds; a test that needs them has failed


@contextmanager
def guest(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Somebody who takes one connection on loopback; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT)

        def work() -> None:
            channel, _ = listener.accept()
            with channel:
                serve(channel)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(LIMIT)
            assert not thread.is_alive()


def ask(target: Tcp | Http) -> str | None:
    """Steps whenever the call is ready, as the prober does. None: it would go on."""
    call = Call(target)
    try:
        if call.failed:
            return call.failed
        with selectors.DefaultSelector() as selector:
            selector.register(call.channel, call.events)
            while selector.select(LIMIT):
                found = call.step()
                if found is not None:
                    return found
                selector.modify(call.channel, call.events)
        return None
    finally:
        call.close()


def answer(data: bytes, heard: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    def serve(channel: socket.socket) -> None:
        request = channel.recv(1 << 12)
        if heard is not None:
            heard.append(request)
        channel.sendall(data)

    return serve


def http(port: int, path: str = "/up", expect: int = 200) -> Http:
    return Http("127.0.0.1", port, path, expect)


def test_a_port_that_accepts_is_an_answer() -> None:
    with guest(lambda _: None) as port:
        assert ask(Tcp("127.0.0.1", port)) == ""


def test_a_port_where_nobody_listens_is_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert ask(Tcp("127.0.0.1", port)) == "Connection refused"
        assert ask(http(port)) == "Connection refused"


def test_a_web_server_is_asked_as_the_standard_says() -> None:
    heard: list[bytes] = []
    with guest(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", heard)) as port:
        assert ask(http(port, "/health?deep=1")) == ""
    assert heard == [f"GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()]


@pytest.mark.parametrize(
    ("data", "trouble"),
    [
        (b"HTTP/1.0 200 OK\r\n", ""),
        (b"HTTP/1.1 200\r\n", ""),
        (b"HTTP/1.1 500 No\r\n", "it answered with status 500, not 200"),
        (b"HTTP/1.1 2000 OK\r\n", "it answered with something else than HTTP"),
        (b"HTTP/2 200 OK\r\n", "it answered with something else than HTTP"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", "it answered with something else than HTTP"),
        (b"HTTP/1.1 200", "it answered with something else than HTTP"),
        (b"", "it answered with something else than HTTP"),
        (bytes(200), "it answered with something else than HTTP"),
    ],
)
def test_only_the_expected_status_is_an_answer(data: bytes, trouble: str) -> None:
    with guest(answer(data)) as port:
        assert ask(http(port)) == trouble


def test_an_answer_may_come_in_pieces() -> None:
    def serve(channel: socket.socket) -> None:
        channel.recv(1 << 12)
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):  # whoever asked has hung up once it knew enough
            for byte in b"HTTP/1.1 204 No Content\r\n":
                channel.sendall(bytes([byte]))

    with guest(serve) as port:
        assert ask(http(port, expect=204)) == ""


def test_little_is_read_of_an_answer_without_end() -> None:
    def serve(channel: socket.socket) -> None:
        channel.recv(1 << 12)
        with suppress(OSError):  # ends once whoever asked has hung up, and else never
            while True:
                channel.sendall(bytes(1 << 16))

    with guest(serve) as port:
        assert ask(http(port)) == "it answered with something else than HTTP"


def ear(pattern: str) -> tuple[Ear, Callable[[bytes], None]]:
    heard: list[Callable[[bytes], None]] = []

    def attach(listener: Callable[[bytes], None]) -> Callable[[], None]:
        heard.append(listener)
        return heard.clear

    made = Ear(Serial(pattern), attach)
    return made, heard[0]


def test_a_prompt_without_a_line_end_is_heard() -> None:
    made, say = ear("login:")
    say(b"Debian GNU/Linux 13 alpha ttyS0\r\n\r\nalpha lo")
    assert not made.heard_it()
    say(b"gin: ")
    assert made.heard_it()


def test_a_pattern_is_a_regular_expression_over_one_line() -> None:
    made, say = ear(r"^ready in \d+ s$")
    say(b"ready in\r\n5 s\r\nnot ready in 5 s\r\n")
    assert not made.heard_it()
    say(b"ready in 512 s\r\n")
    assert made.heard_it()


def test_what_no_line_can_hold_is_still_found() -> None:
    made, say = ear("needle")
    for start in (0, LINE_LIMIT - 3, LINE_LIMIT // 2 - 3, 3 * LINE_LIMIT):
        say(b"x" * start + b"needle" + b"x" * 1000 + b"\n")
        assert made.heard_it(), start
    say(b"x" * 10_000 + b"\n")
    assert not made.heard_it()


def test_a_guest_that_never_stops_talking_takes_little_memory_and_time() -> None:
    made, say = ear("a+b")
    for _ in range(100):
        say(b"a" * (1 << 14))
    assert len(made._said) <= SAID_LIMIT
    assert not made.heard_it()
    assert len(made._line) <= LINE_LIMIT
    assert not made._said


def test_bytes_that_are_no_text_harm_nobody() -> None:
    made, say = ear("grüß")
    say(bytes(range(256)) * 4)
    assert not made.heard_it()
    say("grüß gott\n".encode())
    assert made.heard_it()


def test_an_ear_that_is_closed_hears_no_more() -> None:
    ended: list[str] = []
    Ear(Serial("a"), lambda _: lambda: ended.append("detached")).close()
    assert ended == ["detached"]
