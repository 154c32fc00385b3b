"""What the commands that build share: the cache with progress shown, and the owner's keyring, made when missing."""

from __future__ import annotations

import getpass
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from flashvisor.cli.passphrase import ask, ask_new, passphrase_is_in_file
from flashvisor.cli.progress import timed
from flashvisor.errors import KeyringMissingError
from flashvisor.image.cache import Cache, Listener, default_root
from flashvisor.trust.keyring import Keyring, default_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNATTENDED = (
    "They are NOT encrypted, so that nobody has to type anything: good for trying things out.\n"
    "Before a server of yours depends on them: `flashvisor keys passphrase`."
)
NO_ROOT = (
    "This keyring is of the first version's form: a server that is burnt with it takes no updates.\n"
    "`flashvisor keys upgrade`, then build again."
)
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
    """The owner's keyring; a new one is made, and said to be made, where there is none.

    It is encrypted if FLASHVISOR_PASSPHRASE_FILE names a passphrase. If not, it is not, and that is said: these
    commands run unattended.
    """
    directory = default_directory()
    with suppress(KeyringMissingError):
        keyring = Keyring.open(directory, ask)
        if keyring.is_first_form:
            click.echo(NO_ROOT, err=True)
        return keyring
    passphrase = ask_new() if passphrase_is_in_file() else None
    click.echo(f"No keyring yet: making the owner's keys in {directory}.", err=True)
    if passphrase is None:
        click.echo(UNATTENDED, err=True)
    return Keyring.create(directory, getpass.getuser(), passphrase=passphrase)
