"""The administrator's side of an update: answers what the server wants, until it says how it ended. Admin side only.

Owns which files of a repository a server may ask for. Does not own the connection (client.py), nor what is in the
files: the server verifies them (trust/updates.py)::

    offer(connection, request, directory, print)        # Installed, or the ErrorReport of a refusal
    read_offer(directory, "timestamp.json", 16_384)     # bytes, or None if there is no such file
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from flashvisor.api.types import ErrorReport, Installed, UpdateRequest, UpdateStep
from flashvisor.errors import StrangeAnswerError, UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from websockets.sync.client import ClientConnection

# What trust/repository.py writes, and nothing else: no name has a way out of the directory.
NAMES = re.compile(
    r"timestamp\.json"
    r"|[1-9][0-9]{0,9}\.(root|snapshot|targets)\.json"
    r"|targets/[0-9a-f]{64}\.[a-z0-9][A-Za-z0-9._-]{0,120}\.json"
    r"|chunks/[0-9a-f]{2}/[0-9a-f]{64}"
)


def offer(
    connection: ClientConnection,
    request: UpdateRequest,
    directory: Path | None,
    on_progress: Callable[[UpdateStep], None],
) -> Installed | ErrorReport:
    """Asks for an update and serves it.

    Args:
        connection: Of Routes.UPDATE.
        request: Which release.
        directory: The repository; None: it has no file, for the server fetches them elsewhere.
        on_progress: Hears of each step that has `progress`.

    Raises:
        StrangeAnswerError: the server says what this version does not know, or wants what it may not have.
        UnreadableFileError: a file cannot be read.
    """
    connection.send(msgspec.json.encode(request).decode())
    while True:
        step = _step(connection.recv())
        if end := step.installed or step.error:
            return end
        if step.want:
            data = read_offer(directory, step.want, step.limit) if directory else None
            connection.send("" if data is None else data)
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
