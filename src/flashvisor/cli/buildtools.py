"""What the commands that build share: the cache with progress shown, and the owner's keyring, made when missing."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from flashvisor.cli.progress import timed
from flashvisor.image.cache import Cache, Listener, default_root
from flashvisor.trust.keyring import OWNER, Keyring, default_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUIET = 2.0  # seconds: a step expected to be quicker shows nothing


class Bars(Listener):
    """Shows every step that really runs, with the time that is left by its last run here."""

    @contextmanager
    def step(self, title: str, expected: float, log: Path) -> Iterator[None]:
        """See Listener."""
        del log
        if expected < QUIET:
            yield
            return
        with timed(title, expected):
            yield


def open_cache() -> Cache:
    """The build cache of this machine."""
    return Cache(default_root(), Bars())


def open_keyring() -> Keyring:
    """The owner's keyring; a new one is made, and said to be made, where there is none."""
    directory = default_directory()
    if (directory / OWNER).exists():
        return Keyring.open(directory)
    click.echo(f"No keyring yet: making the owner's keys in {directory}", err=True)
    return Keyring.create(directory, getpass.getuser())
