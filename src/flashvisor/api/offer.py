"""The administrator's side of an update: answers what the server wants, until it says how it ended. Admin side only.

Owns which files of a repository a server may ask for. Does not own the connection (client.py), nor what is in the
files: the server verifies them (trust/updates.py)::

    push(uri, tls, request, directory, print)           # Installed, or the ErrorReport of a refusal
    read_offer(directory, "timestamp.json", 16_384)     # bytes, or None if there is no such file
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from flashvisor.api.flashtypes import Installed, UpdateRequest, UpdateStep
from flashvisor.api.message import ErrorReport
from flashvisor.errors import StrangeAnswerError, UnreadableFileError
from flashvisor.trust.certificates import SERVER_ALIAS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

OPEN_TIMEOUT = 10.0  # seconds
# What trust/repository.py writes, and nothing else: no name has a way out of the directory.
NAMES = re.compile(
    r"timestamp\.json"
    r"|[1-9][0-9]{0,9}\.(root|snapshot|targets)\.json"
    r"|targets/[0-9a-f]{64}\.[a-z0-9][A-Za-z0-9._-]{0,120}\.json"
    r"|chunks/[0-9a-f]{2}/[0-9a-f]{64}"
)


def push(
    uri: str,
    tls: ssl.SSLContext,
    request: UpdateRequest,
    directory: Path | None,
    on_progress: Callable[[UpdateStep], None],
) -> Installed | ErrorReport:
    """Asks for an update and serves it.

    A connection that breaks once the slot is being written ends it as if all had been said.

    Args:
        uri: Of Routes.UPDATE.
        tls: The client's settings.
        request: Which release.
        directory: The repository; None: it has no file, for the server fetches them elsewhere.
        on_progress: Hears of each step that has `progress`.

    Raises:
        StrangeAnswerError: the server says what this version does not know, or wants what it may not have.
        UnreadableFileError: a file cannot be read.
        OSError, TimeoutError, WebSocketException: the connection failed.
    """

    async def talk() -> Installed | ErrorReport:
        async with link(uri, tls) as connection:
            return await _offer(connection, request, directory, on_progress)

    return asyncio.run(talk())


def link(uri: str, tls: ssl.SSLContext) -> connect:
    """Returns a connection to be opened.

    In one event loop: websockets' synchronous client reads TLS in one thread and writes in another, which OpenSSL does
    not allow, and was seen to hang while connecting, two times in about a hundred (17.4, Python 3.11).
    """
    return connect(uri, ssl=tls, server_hostname=SERVER_ALIAS, open_timeout=OPEN_TIMEOUT, compression=None, proxy=None)


async def _offer(
    connection: ClientConnection,
    request: UpdateRequest,
    directory: Path | None,
    on_progress: Callable[[UpdateStep], None],
) -> Installed | ErrorReport:
    await connection.send(msgspec.json.encode(request).decode())
    writes = None
    while True:
        try:
            step = _step(await connection.recv())
        except ConnectionClosed:
            if writes is None:
                raise
            return writes  # the server goes on by itself: its slots tell the rest
        writes = writes or step.writes
        if end := step.installed or step.error:
            return end
        if step.want:
            data = read_offer(directory, step.want, step.limit) if directory else None
            await connection.send("" if data is None else data)
        else:
            on_progress(step)


def read_offer(directory: Path, path: str, limit: int) -> bytes | None:
    """Returns a file of a repository, at most one byte more than `limit`; None if there is no such file.

    Raises:
        StrangeAnswerError: the path is none of a repository's, or leads out of it.
        UnreadableFileError: the file cannot be read.
    """
    if NAMES.fullmatch(path) is None:
        raise StrangeAnswerError(f"the server asked for '{path[:200]}', which is no file of a release repository")
    file = directory / path
    try:
        if not file.resolve().is_relative_to(directory.resolve()):
            raise StrangeAnswerError(f"{file} leads out of the release repository {directory}")
        with file.open("rb") as opened:
            return opened.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableFileError(f"{file} cannot be read", evidence=str(error)) from error


def _step(message: str | bytes) -> UpdateStep:
    try:
        return msgspec.json.decode(message, type=UpdateStep)
    except msgspec.MsgspecError as error:
        raise StrangeAnswerError(f"a step of the update is not what this version expects: {error}") from error
