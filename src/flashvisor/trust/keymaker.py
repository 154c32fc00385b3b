"""Makes keys for the owner's keyring: all of a new owner, or one for a role that is rotated.

Owns which kind of key each role has. Writes no file (keyring.py); keys on a token are there once they are made::

    salt, secret = new_secret(passphrase)
    store = make_all("Example GmbH", salt, secret, ONE_OF_ONE)
    Maker("Example GmbH", secret).make("db")
"""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from flashvisor.errors import FlashvisorError, NotOnTokenError, TokenUriError, WeakPassphraseError
from flashvisor.host import clock
from flashvisor.trust import certificates, keystore
from flashvisor.trust.certificates import Purpose
from flashvisor.trust.keystore import State, Store, StoredKey
from flashvisor.trust.roles import ROLES, SECURE_BOOT_KEYS, TOKEN_ROLES, TUF, TUF_ROLES
from flashvisor.trust.tokenkeys import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flashvisor.trust.certificates import Pair, SigningKey
    from flashvisor.trust.token import Token
    from flashvisor.trust.tokenkeys import TokenKey

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


@dataclass(frozen=True)
class OnToken:
    """Which roles' keys are made on which token."""

    token: Token
    roles: frozenset[str]

    def check(self, count: int = 1) -> None:
        """Refuses what cannot be, before any key is made.

        Args:
            count: How many keys each role has.

        Raises:
            NotOnTokenError: a role's key cannot lie on a token.
            TokenUriError: the URI names one key, for several roles.
            TokenLibraryError, TokenMissingError, WrongPinError, TokenRefusedError: the token cannot do it.
        """
        for role in sorted(self.roles):
            if role not in TOKEN_ROLES:
                why = ROLES[role].file_only
                raise NotOnTokenError(f"the key of '{role}' cannot lie on a token: {why}")
        if self.token.uri.names_key and len(self.roles) * count > 1:
            raise TokenUriError("the URI names one key, where several are needed: name a token")
        self.token.check(*sorted({kind_of(role) for role in self.roles}, key=lambda kind: kind.name))

    def destroy(self, keys: Iterable[StoredKey]) -> None:
        """Takes those keys back that were made on the token, as far as it lets us."""
        for key in keys:
            if key.token and not self.token.uri.names_key:
                with suppress(FlashvisorError):
                    self.token.destroy(key.token)


@dataclass(frozen=True)
class Maker:
    """Makes an owner's keys one by one. `secret` encrypts those that do not lie on a token."""

    owner: str
    secret: bytes | None

    def make(self, role: str, *, authority: SigningKey | None = None, token: Token | None = None) -> StoredKey:
        """Makes a key for a role.

        Args:
            role: As in ROLES.
            authority: Issues the certificate of the role "admin".
            token: Where the private key is made, or was made if the token's URI names a key; None: in memory.
        """
        if token is None:
            return keystore.stored(role, self._pair(role, authority), self.secret)
        uri, key = token.obtain(kind_of(role), f"flashvisor {role}")
        public = self._public(role, key).decode("ascii")
        return StoredKey(role=role, state=State.ACTIVE, public=public, private=None, token=str(uri))

    def make_tuf(self, roots: int) -> list[StoredKey]:
        """Makes keys for all TUF roles, `roots` of them for the root."""
        return [self.make(role) for role in _tuf_roles(roots)]

    def _pair(self, role: str, authority: SigningKey | None) -> Pair:
        now = clock.now()
        if role == "ca":
            return certificates.make_authority(self.owner, now)
        if role.startswith(TUF):
            return certificates.make_ed25519()
        if authority is not None:
            return certificates.issue_client(authority, role, now)
        return certificates.make_signer(f"flashvisor {role}", self.owner, _purpose(role), now)

    def _public(self, role: str, key: TokenKey) -> bytes:
        """Returns what the keyring keeps of a key on a token: its certificate, or the bare public key."""
        now = clock.now()
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return certificates.authority_certificate(key, self.owner, now)
        if isinstance(key, rsa.RSAPrivateKey):
            return certificates.signer_certificate(key, f"flashvisor {role}", self.owner, _purpose(role), now)
        return certificates.bare_public(key)


def kind_of(role: str) -> Kind:
    """Returns the kind of a role's key. TUF's are ed25519: servers in flash verify nothing else."""
    if role.startswith(TUF):
        return Kind.ED25519
    return Kind.RSA if role in SECURE_BOOT_KEYS or role == "modules" else Kind.P256


def make_all(
    owner: str, salt: str | None, secret: bytes | None, root_keys: tuple[int, int], place: OnToken | None = None
) -> Store:
    """Makes every key of a new owner.

    Args:
        owner: The owner's name.
        salt: Of `secret`.
        secret: Encrypts private keys.
        root_keys: How many keys the TUF root has, and how many of them must sign.
        place: The keys that are made on a token. On failure those that were made already are deleted from it.
    """
    count, threshold = root_keys
    maker = Maker(owner, secret)
    keys: list[StoredKey] = []
    try:
        for role in ("ca", "admin", *SECURE_BOOT_KEYS, "modules", *_tuf_roles(count)):
            token = place.token if place and role in place.roles else None
            authority = keystore.signing(keys[0], secret, place.token if place else None) if role == "admin" else None
            keys.append(maker.make(role, authority=authority, token=token))
    except FlashvisorError:
        if place:
            place.destroy(keys)
        raise
    return Store(
        owner=owner,
        owner_guid=keystore.owner_guid(keys[0].public),
        salt=salt,
        thresholds=dict.fromkeys(TUF_ROLES, 1) | {"root": threshold},
        keys=tuple(keys),
    )


def _tuf_roles(roots: int) -> list[str]:
    return [f"{TUF}{role}" for role in ["root"] * roots + list(TUF_ROLES[1:])]


def _purpose(role: str) -> Purpose:
    return Purpose.SECURE_BOOT if role in SECURE_BOOT_KEYS else Purpose.MODULES
