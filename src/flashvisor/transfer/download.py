"""Downloads one file whose SHA-256 is known, and goes on where an earlier try stopped.

Owns HTTP ranges (RFC 9110, 14). What the server says is believed only until the checksum is compared::

    download("https://example.com/disk.qcow2", work / "download", sha256, watch)
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx

from flashvisor.errors import CommandLineError, DownloadError, WrongChecksumError
from flashvisor.host.files import GIB, MIB, need_space, sha256_file
from flashvisor.transfer.names import shown

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from flashvisor.transfer.watch import Advance, Watch

ANSWER_LIMIT = 60.0  # seconds for connecting, and for each piece
REDIRECTS = 5
URL_FORM = "Give http(s)://HOST/PATH."
RESERVE = 1 * GIB  # bytes of the disk that stay free
SPACE_STEP = 64 * MIB  # bytes between two looks at what is free


def download(
    url: str, target: Path, sha256: str, watch: Watch, *, transport: httpx.BaseTransport | None = None
) -> None:
    """Fetches a file.

    Args:
        url: http:// or https://.
        target: Where it goes; what is there already is taken for its beginning.
        sha256: What it must have.
        watch: Hears of progress.
        transport: Takes the network's place in tests.

    Raises:
        DownloadError: no answer, or it stopped; what came stays.
        WrongChecksumError: it is another file; it was removed.
        NoSpaceError: it does not fit.
        CommandLineError: it is no URL.
    """
    if target.exists() and _sha256(target, watch) == sha256:
        return  # an earlier try had all of it
    with httpx.Client(
        transport=transport,
        verify=ssl.create_default_context(),
        timeout=httpx.Timeout(ANSWER_LIMIT),
        follow_redirects=True,
        max_redirects=REDIRECTS,
        headers={"User-Agent": "flashvisor", "Accept-Encoding": "identity"},
    ) as client:
        try:
            _fetch(client, url, target, watch)
        except (httpx.InvalidURL, UnicodeError) as error:  # the second of a host's name, by socket
            raise CommandLineError(f"'{url}' is no URL", next_step=URL_FORM) from error
        except httpx.HTTPError as error:
            raise DownloadError(f"{shown(url)} cannot be fetched", evidence=str(error) or repr(error)) from error
    got = _sha256(target, watch)
    if got != sha256:
        target.unlink()
        raise WrongChecksumError(f"{shown(url)} has the SHA-256 {got}: expected {sha256}")


def _sha256(path: Path, watch: Watch) -> str:
    with watch(f"checking {path.name}", path.stat().st_size) as advance:
        return sha256_file(path, advance)


def _fetch(client: httpx.Client, url: str, target: Path, watch: Watch) -> None:
    have = target.stat().st_size if target.exists() else 0
    with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
        if have and answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to fetch; the checksum tells whether that is true
        goes_on = answer.status_code == HTTPStatus.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise DownloadError(f"{shown(url)} sent another part than was asked for")
        if answer.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise DownloadError(f"{shown(url)} answered with HTTP status {answer.status_code}")
        left: int | None = None
        with suppress(ValueError):
            left = int(answer.headers.get("Content-Length", ""))
        need_space(target.parent, (left or 0) + RESERVE, shown(url))
        begun = have if goes_on else 0
        with (
            target.open("ab" if goes_on else "wb") as file,
            watch(f"downloading {shown(url)}", begun + left if left else None) as advance,
        ):
            advance(begun)
            _write(answer, file, target, advance)


def _write(answer: httpx.Response, file: BinaryIO, target: Path, advance: Advance) -> None:
    since = 0
    for chunk in answer.iter_raw():
        file.write(chunk)
        advance(len(chunk))
        since += len(chunk)
        if since >= SPACE_STEP:
            since = 0
            need_space(target.parent, RESERVE, "the download")
