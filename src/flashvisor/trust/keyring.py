"""The owner's keyring: every private key that makes a server the owner's, in one directory.

Owns which keys there are and how they lie on disk. Does not own certificates' contents (certificates.py).
Admin side only. The keys lie unencrypted, readable by their user alone::

    keyring = Keyring.create(default_directory(), "Example GmbH")
    keyring = Keyring.open(default_directory())
    identity = keyring.issue_node("alpha")     # goes into the server's flash, is not kept here
    sign(image, output, key=keyring.db.key, cert=keyring.db.cert)
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import KeyringDamagedError, KeyringExistsError, KeyringMissingError, OwnerNameError
from flashvisor.host import clock
from flashvisor.host.files import write_directory_once
from flashvisor.trust import certificates
from flashvisor.trust.certificates import Pair, Purpose

if TYPE_CHECKING:
    from collections.abc import Iterable

OWNER_LIMIT = 64  # characters (X.520, ub-organization-name)
SECURE_BOOT_KEYS = ("PK", "KEK", "db")  # UEFI 2.10, 32.3: platform key, key exchange key, signature database
CERTIFIED = ("ca", "admin", *SECURE_BOOT_KEYS)  # each has NAME.pem and NAME.key
MODULES = "modules.pem"
OWNER = "owner.txt"


@dataclass(frozen=True)
class KeyFiles:
    """Where a certificate and its private key lie, both as PEM."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class NodeIdentity:
    """What a server proves its name with: certificate and private key as PEM."""

    cert_pem: bytes
    key_pem: bytes


def default_directory() -> Path:
    """$FLASHVISOR_KEYS, else ~/.local/share/flashvisor/keys."""
    named = os.environ.get("FLASHVISOR_KEYS")
    return Path(named) if named else Path.home() / ".local" / "share" / "flashvisor" / "keys"


class Keyring:
    """The owner's keys in a directory. Made by `create` once, opened by `open` ever after."""

    def __init__(self, directory: Path, owner: str) -> None:
        self.directory = directory
        self.owner = owner

    @classmethod
    def create(cls, directory: Path, owner: str) -> Keyring:
        """Makes all keys of a new owner; all of them are written, or none.

        Args:
            directory: Must not exist, or be empty. Gets mode 0700, its files 0600.
            owner: The owner's name, which stands in every certificate.

        Raises:
            KeyringExistsError: something is in the directory already; nothing was changed.
            OwnerNameError: the owner's name is empty, too long or not printable.
        """
        if not owner.strip() or len(owner) > OWNER_LIMIT or not owner.isprintable():
            raise OwnerNameError(f"the owner's name must have 1 to {OWNER_LIMIT} printable characters, got {owner!r}")
        try:
            write_directory_once(directory, _make_all(owner), mode=0o600, directory_mode=0o700)
        except FileExistsError as error:
            raise KeyringExistsError(f"{directory} is not empty, and keys are never overwritten") from error
        return cls(directory, owner)

    @classmethod
    def open(cls, directory: Path) -> Keyring:
        """Opens an existing keyring.

        Raises:
            KeyringMissingError: there is none.
            KeyringDamagedError: files are missing from it.
        """
        if not (directory / OWNER).exists():
            raise KeyringMissingError(f"there is no keyring in {directory}")
        absent = [name for name in _all_files() if not (directory / name).is_file()]
        if absent:
            raise KeyringDamagedError(f"the keyring in {directory} lacks {', '.join(absent)}")
        return cls(directory, (directory / OWNER).read_text(encoding="utf-8").strip())

    @property
    def ca_pem(self) -> bytes:
        """The owner's CA certificate: what servers trust clients by, and clients servers."""
        return self._files("ca").cert.read_bytes()

    @property
    def admin(self) -> KeyFiles:
        """The administrator's client certificate and key."""
        return self._files("admin")

    @property
    def platform_key(self) -> KeyFiles:
        """Secure Boot's PK: who may change KEK."""
        return self._files("PK")

    @property
    def key_exchange_key(self) -> KeyFiles:
        """Secure Boot's KEK: who may change db."""
        return self._files("KEK")

    @property
    def db(self) -> KeyFiles:
        """Secure Boot's db: what images are signed with."""
        return self._files("db")

    @property
    def module_key(self) -> Path:
        """Private key and certificate in one PEM file, as Linux's CONFIG_MODULE_SIG_KEY expects them."""
        return self.directory / MODULES

    @property
    def owner_guid(self) -> uuid.UUID:
        """The SignatureOwner of the Secure Boot variables, derived from the CA (UEFI 2.10, 32.4.1)."""
        return uuid.uuid5(uuid.NAMESPACE_OID, certificates.fingerprint(self.ca_pem))

    def issue_node(self, name: str, addresses: Iterable[certificates.Address] = ()) -> NodeIdentity:
        """Issues a server's identity. Its private key is not kept here: it belongs into the server's flash alone.

        Args:
            name: The server's name (model.site.Name).
            addresses: IP addresses that the certificate is good for besides the names.
        """
        ca = self._files("ca")
        authority = Pair(ca.cert.read_bytes(), ca.key.read_bytes())
        pair = certificates.issue_server(authority, name, clock.now(), addresses)
        return NodeIdentity(cert_pem=pair.cert_pem, key_pem=pair.key_pem)

    def _files(self, name: str) -> KeyFiles:
        return KeyFiles(cert=self.directory / f"{name}.pem", key=self.directory / f"{name}.key")


def _all_files() -> list[str]:
    return [OWNER, MODULES, *(f"{name}{suffix}" for name in CERTIFIED for suffix in (".pem", ".key"))]


def _make_all(owner: str) -> dict[str, bytes]:
    """Makes every key; returns the files' contents by name."""
    now = clock.now()
    authority = certificates.make_authority(owner, now)
    pairs = {"ca": authority, "admin": certificates.issue_client(authority, "admin", now)}
    for name in SECURE_BOOT_KEYS:
        pairs[name] = certificates.make_signer(f"flashvisor {name}", owner, Purpose.SECURE_BOOT, now)
    modules = certificates.make_signer("flashvisor modules", owner, Purpose.MODULES, now)
    files = {OWNER: f"{owner}\n".encode(), MODULES: modules.key_pem + modules.cert_pem}
    for name, pair in pairs.items():
        files[f"{name}.pem"] = pair.cert_pem
        files[f"{name}.key"] = pair.key_pem
    return files
