"""Makes keys for the owner's keyring: all of a new owner, or one for a role that is rotated.

Owns which kind of key each role has. Writes nothing (keyring.py)::

    salt, secret = new_secret(passphrase)
    store = make_all("Example GmbH", salt, secret, ONE_OF_ONE)
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

from flashvisor.errors import WeakPassphraseError
from flashvisor.host import clock
from flashvisor.trust import certificates, keystore
from flashvisor.trust.certificates import Purpose
from flashvisor.trust.keystore import Store, StoredKey
from flashvisor.trust.roles import SECURE_BOOT_KEYS, TUF, TUF_ROLES

if TYPE_CHECKING:
    from datetime import datetime

    from flashvisor.trust.certificates import Pair

PASSPHRASE_LEAST = 12  # bytes
ONE_OF_ONE = (1, 1)  # keys for the TUF root, and how many of them must sign


def new_secret(passphrase: bytes | None) -> tuple[str | None, bytes | None]:
    """Returns a new salt (base64) and the password that it makes of a passphrase; None, None without one.

    Raises:
        WeakPassphraseError: the passphrase is too short.
    """
    if passphrase is None:
        return None, None
    if len(passphrase) < PASSPHRASE_LEAST:
        raise WeakPassphraseError(
            f"a passphrase has at least {PASSPHRASE_LEAST} characters, this one has {len(passphrase)}"
        )
    salt = base64.b64encode(os.urandom(keystore.SALT_SIZE)).decode("ascii")
    return salt, keystore.password(passphrase, salt)


def make(role: str, owner: str, now: datetime, authority: Pair | None) -> Pair:
    """Makes a key for a role; `authority` issues the certificate of the role "admin"."""
    if role == "ca":
        return certificates.make_authority(owner, now)
    if role.startswith(TUF):
        return certificates.make_ed25519()
    if authority is not None:
        return certificates.issue_client(authority, role, now)
    purpose = Purpose.SECURE_BOOT if role in SECURE_BOOT_KEYS else Purpose.MODULES
    return certificates.make_signer(f"flashvisor {role}", owner, purpose, now)


def make_all(owner: str, salt: str | None, secret: bytes | None, root_keys: tuple[int, int]) -> Store:
    """Makes every key of a new owner."""
    now = clock.now()
    authority = make("ca", owner, now, None)
    keys = [keystore.stored("ca", authority, secret)]
    keys.append(keystore.stored("admin", make("admin", owner, now, authority), secret))
    keys += [keystore.stored(role, make(role, owner, now, None), secret) for role in (*SECURE_BOOT_KEYS, "modules")]
    count, threshold = root_keys
    return Store(
        owner=owner,
        owner_guid=keystore.owner_guid(authority.cert_pem.decode("ascii")),
        salt=salt,
        thresholds=dict.fromkeys(TUF_ROLES, 1) | {"root": threshold},
        keys=(*keys, *make_tuf_keys(secret, count)),
    )


def make_tuf_keys(secret: bytes | None, roots: int) -> list[StoredKey]:
    """Makes keys for all TUF roles, `roots` of them for the root."""
    roles = ["root"] * roots + list(TUF_ROLES[1:])
    return [keystore.stored(f"{TUF}{role}", certificates.make_ed25519(), secret) for role in roles]
