"""A backup: brings back every byte, opens to its passphrase alone, and notices every changed bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import BackupFormatError, WrongPassphraseError
from flashvisor.trust import backup
from flashvisor.trust.keystore import SALT_SIZE

if TYPE_CHECKING:
    from flashvisor.trust.keyring import Keyring

PASSPHRASE = b"correct horse battery"


@pytest.fixture(scope="module")
def sealed(keyring: Keyring) -> bytes:
    return backup.seal(keyring.store, PASSPHRASE)


def test_everything_comes_back(keyring: Keyring, sealed: bytes) -> None:
    assert backup.unseal(sealed, PASSPHRASE) == keyring.store
    assert keyring.store.roots
    assert b"PRIVATE KEY" not in sealed


def test_no_two_backups_are_alike(keyring: Keyring, sealed: bytes) -> None:
    assert backup.seal(keyring.store, PASSPHRASE)[len(backup.MAGIC) :] != sealed[len(backup.MAGIC) :]


def test_another_passphrase_and_changed_bits(sealed: bytes) -> None:
    with pytest.raises(WrongPassphraseError):
        backup.unseal(sealed, b"incorrect horse")
    for place in (len(backup.MAGIC), len(backup.MAGIC) + SALT_SIZE, -1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(WrongPassphraseError):
            backup.unseal(bytes(changed), PASSPHRASE)


@pytest.mark.parametrize("size", [0, 10, len(backup.MAGIC), len(backup.MAGIC) + SALT_SIZE + backup.NONCE_SIZE])
def test_what_is_no_backup(sealed: bytes, size: int) -> None:
    with pytest.raises(BackupFormatError):
        backup.unseal(sealed[:size], PASSPHRASE)
