"""The health URL of a trial, asked for over real sockets: a success counts, and nothing else does or is an error."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from flashvisor.host import https

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.tools

TIMEOUT = 5.0  # seconds


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that gives one answer to one connection; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/health"
        thread.join()


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH_9.9\r\n", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", False),
        (b"", False),
    ],
    ids=["success", "refusal", "not HTTP", "endless head", "silence"],
)
def test_only_a_success_counts(answer: bytes, good: bool) -> None:
    with answering(answer) as url:
        assert https.answers(url, TIMEOUT) is good


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://[", "http://a b/", "http://127.0.0.1:x/", ""])
def test_a_url_that_leads_nowhere_is_no_answer(url: str) -> None:
    assert not https.answers(url, TIMEOUT)
