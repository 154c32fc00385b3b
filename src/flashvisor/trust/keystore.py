"""The keyring's file: which keys an owner has, and each private key as encrypted PKCS #8.

Owns the form of `keyring.json` (ADR 0018) and what is read of the first version's directory. Knows nothing of what
the keys are for (keyring.py). Pure but for `read` and `write`::

    store = read(directory)
    write(directory, replace(store, keys=(*store.keys, key)))
"""

from __future__ import annotations

import base64
import re
import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from flashvisor.errors import KeyringDamagedError, KeyringMissingError, WrongPassphraseError
from flashvisor.host.files import write_atomic
from flashvisor.trust import certificates

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.certificates import Pair

STORE = "keyring.json"
LOCK = "keyring.lock"  # empty; held while the keyring is changed
FIRST_OWNER = "owner.txt"  # the first version's directory has one, and two files for each of FIRST_PAIRS
FIRST_PAIRS = ("ca", "admin", "PK", "KEK", "db")
FIRST_MODULES = "modules.pem"
SALT_SIZE = 16  # bytes
# RFC 7914: 64 MiB and about 0.1 s for each guess. PKCS #8 as `cryptography` writes it has 2048 rounds of PBKDF2 only.
SCRYPT_COST, SCRYPT_BLOCK, SCRYPT_LANES = 1 << 16, 8, 1
PASSWORD_SIZE = 32  # bytes
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Threshold = Annotated[int, msgspec.Meta(ge=1)]


class State(StrEnum):
    """ACTIVE signs; RETIRED was rotated out, and stands for what it signed as far as its role says."""

    ACTIVE = "active"
    RETIRED = "retired"


class StoredKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key.

    Args:
        role: As in keyring.ROLES.
        state: Whether it signs.
        public: Certificate (X.509) or public key (SubjectPublicKeyInfo), PEM.
        private: PKCS #8 as PEM, encrypted if the keyring is; None: given up when the key was rotated out.
    """

    role: str
    state: State
    public: str
    private: str | None


class Store(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `keyring.json` holds.

    `salt` (base64) is None in a keyring that is not encrypted. `roots` are the chain of TUF root metadata, version 1
    first, byte for byte as servers get it; empty in a keyring made before there was one (ADR 0019).
    """

    schema: Literal[2] = 2
    owner: str
    owner_guid: uuid.UUID
    salt: str | None
    thresholds: dict[str, Threshold]
    keys: tuple[StoredKey, ...]
    roots: tuple[str, ...] = ()

    @property
    def encrypted(self) -> bool:
        """Whether private keys are."""
        return self.salt is not None


def read(directory: Path) -> Store:
    """Reads a keyring of either form.

    Raises:
        KeyringMissingError: there is none.
        KeyringDamagedError: it is not whole.
    """
    path = directory / STORE
    if path.is_file():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Store)
        except msgspec.MsgspecError as error:
            raise KeyringDamagedError(f"{path} cannot be read: {error}") from error
    if (directory / FIRST_OWNER).is_file():
        return _read_first(directory)
    raise KeyringMissingError(f"there is no keyring in {directory}")


def write(directory: Path, store: Store) -> None:
    """Replaces the keyring's file: whole, or not at all."""
    write_atomic(directory / STORE, encode(store), mode=0o600)


def encode(store: Store) -> bytes:
    """Returns the file's bytes."""
    return msgspec.json.format(msgspec.json.encode(store), indent=1) + b"\n"


def password(passphrase: bytes, salt: str) -> bytes:
    """Returns the password of the PKCS #8 files: scrypt of the passphrase, base64 (RFC 7914; ADR 0018)."""
    kdf = Scrypt(salt=base64.b64decode(salt), length=PASSWORD_SIZE, n=SCRYPT_COST, r=SCRYPT_BLOCK, p=SCRYPT_LANES)
    return base64.b64encode(kdf.derive(passphrase))


def lock(key: PrivateKey, secret: bytes | None) -> str:
    """Returns a private key as PKCS #8 PEM, encrypted unless `secret` is None."""
    encryption = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem.decode("ascii")


def unlock(pem: str, secret: bytes | None) -> PrivateKey:
    """Returns a private key.

    Raises:
        WrongPassphraseError: `secret` does not open it.
    """
    try:
        key = serialization.load_pem_private_key(pem.encode("ascii"), password=secret)
    except (ValueError, TypeError) as error:
        raise WrongPassphraseError("the passphrase does not open the private key") from error
    if not isinstance(key, PrivateKey):
        raise WrongPassphraseError(f"expected an EC, RSA or ed25519 key, got {type(key).__name__}")
    return key


def stored(role: str, pair: Pair, secret: bytes | None) -> StoredKey:
    """Returns a new key's entry."""
    private = lock(unlock(pair.key_pem.decode("ascii"), None), secret)
    return StoredKey(role=role, state=State.ACTIVE, public=pair.cert_pem.decode("ascii"), private=private)


def first_files() -> tuple[str, ...]:
    """Returns the names of all files that a keyring of the first form consists of."""
    pairs = (f"{name}{suffix}" for name in FIRST_PAIRS for suffix in (".pem", ".key"))
    return (FIRST_OWNER, FIRST_MODULES, *pairs)


def _read_first(directory: Path) -> Store:
    absent = [name for name in first_files() if not (directory / name).is_file()]
    if absent:
        raise KeyringDamagedError(f"the keyring in {directory} lacks {', '.join(absent)}")
    keys = [
        _first_key(role, (directory / f"{role}.pem").read_bytes(), (directory / f"{role}.key").read_bytes())
        for role in FIRST_PAIRS
    ]
    both = (directory / FIRST_MODULES).read_bytes()
    certificate = CERTIFICATE.search(both)
    if certificate is None:
        raise KeyringDamagedError(f"{directory / FIRST_MODULES} lacks its certificate")
    keys.append(_first_key("modules", certificate.group(), both[: certificate.start()]))
    return Store(
        owner=(directory / FIRST_OWNER).read_text(encoding="utf-8").strip(),
        owner_guid=owner_guid(keys[0].public),
        salt=None,
        thresholds={},
        keys=tuple(keys),
    )


def owner_guid(ca_pem: str) -> uuid.UUID:
    """Returns the SignatureOwner of a new owner's Secure Boot variables, derived from the first CA."""
    return uuid.uuid5(uuid.NAMESPACE_OID, certificates.fingerprint(ca_pem.encode("ascii")))


def _first_key(role: str, public: bytes, private: bytes) -> StoredKey:
    return StoredKey(role=role, state=State.ACTIVE, public=public.decode("ascii"), private=private.decode("ascii"))
