"""Checks of a guest's own files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from flashvisor.errors import ConflictError, WrongTypeError

if TYPE_CHECKING:
    from flashvisor.model.problem import Problems
    from flashvisor.model.site import Guest

FILES_LIMIT = 65_536  # bytes of a guest's files together: the server's flash keeps them with each generation


def check_files(guest: Guest, path: str, found: Problems) -> None:
    """Checks what is put into an appliance: that it fits, and that no file is another one's directory."""
    size = sum(len(text.encode()) for text in guest.files.values())
    if size > FILES_LIMIT:
        found.add(
            WrongTypeError,
            f"{path}.files: expected at most {FILES_LIMIT:,} bytes together, got {size:,}",
            step="Larger files belong on the guest's disk.",
        )
    for name in guest.files:
        for parent in PurePosixPath(name).parents:
            if str(parent) in guest.files:
                found.add(ConflictError, f'{path}.files: "{parent}" is a file, and the directory of "{name}"')
    if guest.files_from:
        found.add(
            WrongTypeError,
            f"{path}.files_from: expected to be replaced by files before the site reaches a server",
            step="`flashvisor apply` does it; over the API, send the files' texts as files.",
        )
