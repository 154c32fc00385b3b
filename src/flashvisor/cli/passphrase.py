"""Where the keyring's passphrase comes from: a file that FLASHVISOR_PASSPHRASE_FILE names, else the terminal.

A token's PIN comes from FLASHVISOR_PIN_FILE in the same way. The files may be pipes or systemd credentials: their first
line counts, and each is read once::

    Keyring.open(default_directory(), ask, ask_pin)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from flashvisor.errors import PassphraseNeededError, PinNeededError, UnreadableFileError

VARIABLE = "FLASHVISOR_PASSPHRASE_FILE"
NEW_VARIABLE = "FLASHVISOR_NEW_PASSPHRASE_FILE"
PIN_VARIABLE = "FLASHVISOR_PIN_FILE"


def ask() -> bytes:
    """Returns the passphrase in force.

    Raises:
        PassphraseNeededError: no file is named, and there is no terminal.
        UnreadableFileError: the file cannot be read.
    """
    return _from_file(VARIABLE) or _prompt("Passphrase of the keyring", confirm=False)


def ask_new(what: str = "New passphrase of the keyring", variable: str = VARIABLE) -> bytes:
    """Returns a passphrase to be set; at the terminal it is typed twice."""
    return _from_file(variable) or _prompt(what, confirm=True)


def ask_pin(token: str) -> bytes:
    """Returns a token's PIN.

    Raises:
        PinNeededError: no file is named, and there is no terminal.
        UnreadableFileError: the file cannot be read.
    """
    if named := _from_file(PIN_VARIABLE, "PIN"):
        return named
    if not sys.stdin.isatty():
        raise PinNeededError(f"the PIN of {token} is needed, and there is no terminal to ask for it")
    return str(click.prompt(f"PIN of {token}", hide_input=True, err=True)).encode()


def passphrase_is_in_file() -> bool:
    """Tells whether a file with the passphrase is named: nobody need type it."""
    return bool(os.environ.get(VARIABLE))


def _prompt(what: str, *, confirm: bool) -> bytes:
    if not sys.stdin.isatty():
        raise PassphraseNeededError("a passphrase is needed, and there is no terminal to ask for it")
    return str(click.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)).encode()


def _from_file(variable: str, what: str = "passphrase") -> bytes:
    named = os.environ.get(variable)
    if not named:
        return b""
    try:
        words = Path(named).read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise UnreadableFileError(f"{named}, which {variable} names, cannot be read: {error.strerror}") from error
    if not words:
        raise UnreadableFileError(f"{named}, which {variable} names, holds no {what} in its first line")
    return words
