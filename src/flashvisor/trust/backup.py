"""A keyring as one encrypted file: for the safe, and for the day when the disk with the keyring is gone.

Owns the file's form (ADR 0018): a line of text, scrypt's salt, AES-GCM's nonce, and the sealed keyring.json. Pure::

    data = seal(store, passphrase)
    store = unseal(data, passphrase)

Sources: RFC 7914 (scrypt), NIST SP 800-38D (AES-GCM); both from `cryptography`.
"""

from __future__ import annotations

import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from flashvisor.errors import BackupFormatError, WrongPassphraseError
from flashvisor.trust import keystore
from flashvisor.trust.keystore import SALT_SIZE, SCRYPT_BLOCK, SCRYPT_COST, SCRYPT_LANES, Store

MAGIC = b"flashvisor keyring backup 1: scrypt N=65536 r=8 p=1, AES-256-GCM\n"
KEY_SIZE = 32  # bytes
NONCE_SIZE = 12  # bytes


def seal(store: Store, passphrase: bytes) -> bytes:
    """Returns a backup of a keyring. Private keys that are encrypted already stay so inside it."""
    salt, nonce = os.urandom(SALT_SIZE), os.urandom(NONCE_SIZE)
    return MAGIC + salt + nonce + _cipher(passphrase, salt).encrypt(nonce, keystore.encode(store), MAGIC)


def unseal(data: bytes, passphrase: bytes) -> Store:
    """Returns the keyring that is in a backup.

    Raises:
        BackupFormatError: it is no backup.
        WrongPassphraseError: the passphrase does not open it, or a byte of it was changed.
    """
    head, rest = data[: len(MAGIC)], data[len(MAGIC) :]
    if head != MAGIC or len(rest) <= SALT_SIZE + NONCE_SIZE:
        raise BackupFormatError("the file is no backup of a keyring")
    salt, nonce = rest[:SALT_SIZE], rest[SALT_SIZE : SALT_SIZE + NONCE_SIZE]
    try:
        plain = _cipher(passphrase, salt).decrypt(nonce, rest[SALT_SIZE + NONCE_SIZE :], MAGIC)
    except InvalidTag as error:
        raise WrongPassphraseError("the passphrase does not open the backup, or the backup was changed") from error
    try:
        return msgspec.json.decode(plain, type=Store)
    except msgspec.MsgspecError as error:
        raise BackupFormatError(f"what is in the backup is no keyring of this version: {error}") from error


def _cipher(passphrase: bytes, salt: bytes) -> AESGCM:
    kdf = Scrypt(salt=salt, length=KEY_SIZE, n=SCRYPT_COST, r=SCRYPT_BLOCK, p=SCRYPT_LANES)
    return AESGCM(kdf.derive(passphrase))
