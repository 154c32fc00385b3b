"""Fetches files from a web server that nobody trusts: sizes, times and redirects are bounded. http.client, no proxies.

Owns one connection to one place. Does not own what the files are worth (trust/updates.py)::

    answers("https://example.com/health", timeout=10.0)
    with Fetcher("https://releases.example/flashvisor", client_context(owner_ca_pem)) as fetcher:
        fetcher.fetch("timestamp.json", 16_384)     # None: there is no such file

http:// is taken too: what is fetched is signed, and nothing secret is asked for (docs/adr/0024).
"""

from __future__ import annotations

import ssl
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Self
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from flashvisor.errors import BadRequestError, ReleaseSourceError
from flashvisor.host import clock

if TYPE_CHECKING:
    from types import TracebackType

ANSWER_LIMIT = 30.0  # seconds for each step: connecting, and each read
FILE_LIMIT = 300.0  # seconds for a whole file: a server that drips is left
REDIRECTS = 5
PIECE = 65_536  # bytes read at once
AGENT = "flashvisor"
ANSWERED = range(200, 400)  # RFC 9110, 15.3 and 15.4
GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
MOVED = (301, 302, 303, 307, 308)  # RFC 9110, 15.4: those that name another place for a GET


def client_context(owner_ca_pem: str) -> ssl.SSLContext:
    """Returns TLS settings that trust the owner's CA, and the system's where it has any."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=owner_ca_pem)
    return context


def answers(url: str, timeout: float) -> bool:
    """Returns whether a GET of `url` is answered within `timeout` seconds a step, by a success or a redirect.

    Who answers is not proven, and nobody is followed: what is asked for is that the network leads there.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _check(url.partition("?")[0])
        parts = urlsplit(url)
        with closing(_connected(parts, context, timeout)) as connection:
            connection.request("GET", _target(parts), headers={"User-Agent": AGENT})
            return connection.getresponse().status in ANSWERED
    except (OSError, ValueError, HTTPException, BadRequestError):
        return False


class Fetcher:
    """A directory on a web server.

    Args:
        base: Its URL: https:// or http://.
        context: For TLS.

    Raises:
        BadRequestError: it is no such URL.
    """

    def __init__(self, base: str, context: ssl.SSLContext) -> None:
        self._base = base.rstrip("/") + "/"
        self._context = context
        self._connection: HTTPConnection | None = None
        self._place = ("", "")
        _check(self._base)

    def __enter__(self) -> Self:
        """Connects when the first file is asked for."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self._close()

    def fetch(self, path: str, limit: int) -> bytes | None:
        """Returns a file below the base, or None if there is none; at most one byte more than `limit`.

        Raises:
            ReleaseSourceError: no answer in time, an answer that is none, or a redirect to a place without TLS.
        """
        url = urljoin(self._base, quote(path))
        end = clock.monotonic() + FILE_LIMIT
        for _ in range(REDIRECTS + 1):
            try:
                answer = self._ask(url)
                if answer.status not in MOVED:
                    return self._body(answer, url, limit, end)
                url = _redirected(url, answer.headers.get("Location", ""))
                self._close()
            except (OSError, HTTPException) as error:
                self._close()
                raise ReleaseSourceError(f"{url} cannot be fetched", evidence=str(error) or repr(error)) from error
        raise ReleaseSourceError(f"{self._base}{path} leads to more than {REDIRECTS} redirects")

    def _ask(self, url: str) -> HTTPResponse:
        parts = urlsplit(url)
        target = _target(parts)
        kept = self._connection is not None and self._place == (parts.scheme, parts.netloc)
        try:
            return self._request(parts, target)
        except (ConnectionError, HTTPException):
            if not kept:
                raise
            self._close()  # the server closed a connection that it had kept open for a while: RFC 9112, 9.3.1
            return self._request(parts, target)

    def _request(self, parts: SplitResult, target: str) -> HTTPResponse:
        if self._connection is None or self._place != (parts.scheme, parts.netloc):
            self._close()
            self._place = (parts.scheme, parts.netloc)
            self._connection = _connected(parts, self._context, ANSWER_LIMIT)
        self._connection.request("GET", target, headers={"User-Agent": AGENT, "Accept-Encoding": "identity"})
        return self._connection.getresponse()

    def _body(self, answer: HTTPResponse, url: str, limit: int, end: float) -> bytes | None:
        if answer.status in GONE:
            self._close()  # without reading what it says: the next request needs another connection
            return None
        if answer.status != HTTPStatus.OK:
            self._close()
            raise ReleaseSourceError(f"{url} answered with HTTP status {answer.status}")
        data = bytearray()
        while len(data) <= limit and (piece := answer.read1(min(PIECE, limit + 1 - len(data)))):
            data += piece
            if clock.monotonic() > end:
                self._close()
                raise ReleaseSourceError(f"{url} took longer than {FILE_LIMIT:.0f} s", evidence=f"{len(data)} bytes")
        if len(data) > limit:
            self._close()  # there may be more, and nobody wants it
        elif answer.length:
            self._close()
            raise ReleaseSourceError(f"{url} broke off", evidence=f"{answer.length} bytes are missing")
        else:
            answer.read()  # nothing: http.client then lets the connection serve again
        return bytes(data)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _connected(parts: SplitResult, context: ssl.SSLContext, timeout: float) -> HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    return HTTPConnection(host, parts.port, timeout=timeout)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username or parts.query or parts.fragment:
        raise BadRequestError(
            f"'{url}' is not a place that releases can be fetched from",
            next_step="Give https://HOST/PATH or http://HOST/PATH, without user name and query.",
        )


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    if not location or urlsplit(target).scheme != "https":
        raise ReleaseSourceError(f"{url} leads to '{location}', and only https:// is followed")
    _check(target.split("?")[0])
    return target
