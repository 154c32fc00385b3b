"""The owner's keyring: every private key that makes a server the owner's, in one file.

Owns which keys there are, and what becomes of one. Does not own the file's form (keystore.py) or certificates'
contents (certificates.py). Admin side only::

    keyring = Keyring.create(default_directory(), "Example GmbH", passphrase=b"five random words ...")
    keyring = Keyring.open(default_directory(), ask=ask_passphrase)    # asks once, when a private key is needed
    identity = keyring.issue_node("alpha")     # goes into the server's flash, is not kept here
    with keyring.unlocked("db") as files:
        sign(image, output, key=files.key, cert=files.cert)
"""

from __future__ import annotations

import functools
import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from msgspec.structs import replace

from flashvisor.errors import (
    KeyringDamagedError,
    KeyringExistsError,
    OldKeyringError,
    OwnerNameError,
    PassphraseNeededError,
    UnknownNameError,
)
from flashvisor.host import clock
from flashvisor.host.files import write_directory_once
from flashvisor.host.locks import exclusive
from flashvisor.host.memory import memory_file
from flashvisor.trust import certificates, keystore
from flashvisor.trust.certificates import Pair
from flashvisor.trust.keymaker import ONE_OF_ONE, make, make_all, make_tuf_keys, new_secret
from flashvisor.trust.keystore import State, Store, StoredKey
from flashvisor.trust.roles import ROLES, TUF, TUF_ROLES, RoleSigners

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Iterator

    from securesystemslib.signer import Signer

    from flashvisor.trust.certificates import Address

OWNER_LIMIT = 64  # characters (X.520, ub-organization-name)

P = ParamSpec("P")


@dataclass(frozen=True)
class KeyFiles:
    """Where a certificate and its private key can be read, both as PEM. The key is not encrypted."""

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


def nobody() -> bytes:
    """Answers for a keyring that was opened with nobody to ask.

    Raises:
        PassphraseNeededError: always.
    """
    raise PassphraseNeededError("the keyring is encrypted, and there is nobody to ask for its passphrase")


def _alone(change: Callable[Concatenate[Keyring, P], Keyring]) -> Callable[Concatenate[Keyring, P], Keyring]:
    """Lets one process at a time change a keyring's file, and each go on from what is in it by then."""

    @functools.wraps(change)
    def held(self: Keyring, /, *args: P.args, **kwargs: P.kwargs) -> Keyring:
        with exclusive(self.directory / keystore.LOCK):
            return change(Keyring(self.directory, keystore.read(self.directory), self._ask), *args, **kwargs)

    return held


class Keyring:
    """The owner's keys. Made by `create` once, opened by `open` ever after.

    Args:
        directory: Where `keyring.json` lies.
        store: What is in it.
        ask: Returns the passphrase; called once at most, when the first private key is needed.
    """

    def __init__(self, directory: Path, store: Store, ask: Callable[[], bytes] = nobody) -> None:
        self.directory = directory
        self.store = store
        self._ask = functools.cache(ask)

    @classmethod
    def create(
        cls, directory: Path, owner: str, *, passphrase: bytes | None = None, root_keys: tuple[int, int] = ONE_OF_ONE
    ) -> Keyring:
        """Makes all keys of a new owner; all of them are written, or none.

        Args:
            directory: Must not exist, or be empty. Gets mode 0700, its file 0600.
            owner: The owner's name, which stands in every certificate.
            passphrase: Encrypts the private keys; None leaves them readable to whoever can read the file.
            root_keys: How many keys the TUF root has, and how many of them must sign.

        Raises:
            KeyringExistsError: something is in the directory already; nothing was changed.
            OwnerNameError: the owner's name is empty, too long or not printable.
            WeakPassphraseError: the passphrase is too short.
        """
        if not owner.strip() or len(owner) > OWNER_LIMIT or not owner.isprintable():
            raise OwnerNameError(f"the owner's name must have 1 to {OWNER_LIMIT} printable characters, got {owner!r}")
        salt, secret = new_secret(passphrase)
        answer = nobody if passphrase is None else lambda: passphrase
        draft = Keyring(directory, make_all(owner, salt, secret, root_keys), answer)
        store = draft._with_next_root()
        try:
            write_directory_once(directory, {keystore.STORE: keystore.encode(store)}, mode=0o600, directory_mode=0o700)
        except FileExistsError as error:
            raise KeyringExistsError(f"{directory} is not empty, and keys are never overwritten") from error
        return cls(directory, store, answer)

    @classmethod
    def open(cls, directory: Path, ask: Callable[[], bytes] = nobody) -> Keyring:
        """Opens an existing keyring, without asking for its passphrase yet.

        Raises:
            KeyringMissingError: there is none.
            KeyringDamagedError: keys are missing from it.
        """
        store = keystore.read(directory)
        have = {key.role for key in store.keys if key.state is State.ACTIVE}
        wanted = ROLES if store.thresholds else [role for role in ROLES if not role.startswith(TUF)]
        if absent := [role for role in wanted if role not in have]:
            raise KeyringDamagedError(f"the keyring in {directory} lacks {', '.join(absent)}")
        return cls(directory, store, ask)

    @property
    def owner(self) -> str:
        """The owner's name."""
        return self.store.owner

    @property
    def owner_guid(self) -> uuid.UUID:
        """The SignatureOwner of the Secure Boot variables (UEFI 2.10, 32.4.1). Never changes."""
        return self.store.owner_guid

    @property
    def encrypted(self) -> bool:
        """Whether the private keys are."""
        return self.store.encrypted

    @property
    def ca_pem(self) -> bytes:
        """What servers trust clients by, and clients servers: the owner's CA, and behind it those rotated out."""
        return b"".join(self.certificates("ca"))

    @property
    def module_key(self) -> str:
        """Private key and certificate in one PEM text, as Linux's CONFIG_MODULE_SIG_KEY expects them in a file."""
        pair = self.pair("modules")
        return (pair.key_pem + pair.cert_pem).decode("ascii")

    def certificate(self, role: str) -> bytes:
        """Returns the certificate (PEM) of the key that signs for a role."""
        return self.active(role)[0].public.encode("ascii")

    def certificates(self, role: str) -> list[bytes]:
        """Returns a role's certificates (PEM): the one in use, then those rotated out, newest first."""
        retired = [key for key in reversed(self.store.keys) if key.role == role and key.state is State.RETIRED]
        return [key.public.encode("ascii") for key in (*self.active(role), *retired)]

    def active(self, role: str) -> list[StoredKey]:
        """Returns the keys that sign for a role.

        Raises:
            UnknownNameError: there is no such role.
            OldKeyringError: the keyring is older than the role.
        """
        found = [key for key in self.store.keys if key.role == role and key.state is State.ACTIVE]
        if found:
            return found
        if role in ROLES:
            raise OldKeyringError(f"the keyring in {self.directory} has no key for {role}")
        raise UnknownNameError(f"'{role}' is no role of a key: expected one of {', '.join(ROLES)}")

    def pair(self, role: str) -> Pair:
        """Returns a role's certificate and its private key, not encrypted.

        Raises:
            WrongPassphraseError: the passphrase does not open it.
        """
        return self._pair(self.active(role)[0])

    def outgoing_pair(self, role: str) -> Pair | None:
        """Returns what signed for a role before it was rotated last; None if it never was."""
        kept = [key for key in self.store.keys if key.role == role and key.state is State.RETIRED and key.private]
        return self._pair(kept[-1]) if kept else None

    @contextmanager
    def unlocked(self, role: str) -> Iterator[KeyFiles]:
        """Yields a role's certificate and private key as files in memory, for programs that take nothing else."""
        pair = self.pair(role)
        with memory_file(pair.cert_pem) as cert, memory_file(pair.key_pem) as key:
            yield KeyFiles(cert, key)

    def issue_node(self, name: str, addresses: Iterable[Address] = ()) -> NodeIdentity:
        """Issues a server's identity. Its private key is not kept here: it belongs into the server's flash alone.

        Args:
            name: The server's name (model.site.Name).
            addresses: IP addresses that the certificate is good for besides the names.
        """
        pair = certificates.issue_server(self.pair("ca"), name, clock.now(), addresses)
        return NodeIdentity(cert_pem=pair.cert_pem, key_pem=pair.key_pem)

    def tuf_signers(self, role: str) -> RoleSigners:
        """Returns who signs for a TUF role, in the order in which the keys were made, and how many of them must."""
        return RoleSigners(self._signers(self.active(f"{TUF}{role}")), self.store.thresholds[role])

    def tuf_keys(self) -> dict[str, RoleSigners]:
        """Returns who signs for each TUF role."""
        return {role: self.tuf_signers(role) for role in TUF_ROLES}

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The chain of TUF root metadata, version 1 first. Empty in an older keyring: `founded` makes the first."""
        return tuple(text.encode("utf-8") for text in self.store.roots)

    def founded(self) -> Keyring:
        """Returns the keyring with a chain of roots. Where it has none yet, the first is made, and the file written.

        Raises:
            OldKeyringError: it has no keys to sign a root with.
        """
        return self if self.store.roots else self._found()

    def outgoing_tuf_signers(self, role: str) -> list[Signer]:
        """Returns the signers that were rotated out and still can sign: a new root needs the old root's signatures."""
        return self._signers(
            key for key in self.store.keys if key.role == f"{TUF}{role}" and key.state is State.RETIRED and key.private
        )

    @_alone
    def rotate(self, role: str) -> Keyring:
        """Makes new keys for a role, keeps what the old ones stand for (ROLES), and writes the keyring's file.

        New keys of a TUF role are named by the next root, which is added to the chain.

        Returns:
            The keyring with the new keys.
        """
        count = len(self.active(role))
        if self.is_first_form:
            raise OldKeyringError(f"the keyring in {self.directory} cannot be changed in its old form")
        secret = self._secret
        for key in self.active(role):
            self.private(key)  # a mistyped passphrase must not encrypt the new key
        authority = self.pair("ca") if role == "admin" else None
        made = [make(role, self.owner, clock.now(), authority) for _ in range(count)]
        kept = [_retire(key) if key.role == role and key.state is State.ACTIVE else key for key in self.store.keys]
        keys = (*kept, *(keystore.stored(role, pair, secret) for pair in made))
        rotated = Keyring(self.directory, replace(self.store, keys=keys), self._ask)
        return self._written(rotated._with_next_root() if role.startswith(TUF) else rotated.store)

    @_alone
    def locked_with(self, passphrase: bytes | None) -> Keyring:
        """Brings the keyring to today's form, its private keys under a new passphrase, or None; writes its file.

        Files of the first form are deleted after that; a deleted file's bytes may stay on the disk.

        Raises:
            WeakPassphraseError: the passphrase is too short.
            WrongPassphraseError: the one in force does not open the keyring.
        """
        salt, secret = new_secret(passphrase)
        keys = [
            replace(key, private=keystore.lock(self.private(key), secret) if key.private else None)
            for key in self.store.keys
        ]
        thresholds = self.store.thresholds
        if not thresholds:
            keys += make_tuf_keys(secret, ONE_OF_ONE[0])
            thresholds = dict.fromkeys(TUF_ROLES, 1)
        store = replace(self.store, salt=salt, keys=tuple(keys), thresholds=thresholds)
        locked = Keyring(self.directory, store, nobody if passphrase is None else lambda: passphrase)
        done = locked._written(store if store.roots else locked._with_next_root())
        self.drop_first_form()
        return done

    @property
    def is_first_form(self) -> bool:
        """Whether it lies in the first version's form: readable, but it can neither be rotated nor sign releases."""
        return not self.store.thresholds

    def leftovers(self) -> list[Path]:
        """Returns files of the first form that lie beside today's: a command was killed while it upgraded."""
        if self.is_first_form:
            return []
        return [path for name in keystore.first_files() if (path := self.directory / name).is_file()]

    def drop_first_form(self) -> None:
        """Deletes the files of the first form, once today's file is there. Their bytes may stay on the disk."""
        if (self.directory / keystore.STORE).is_file():
            for name in keystore.first_files():
                (self.directory / name).unlink(missing_ok=True)

    def private(self, key: StoredKey) -> keystore.PrivateKey:
        """Returns a stored private key.

        Raises:
            KeyringDamagedError: it was given up.
            WrongPassphraseError: the passphrase does not open it.
        """
        if key.private is None:
            raise KeyringDamagedError(f"the keyring in {self.directory} has given up a private key of {key.role}")
        return keystore.unlock(key.private, self._secret)

    @cached_property
    def _secret(self) -> bytes | None:
        return keystore.password(self._ask(), self.store.salt) if self.store.salt else None

    def _pair(self, key: StoredKey) -> Pair:
        plain = keystore.lock(self.private(key), None)
        return Pair(cert_pem=key.public.encode("ascii"), key_pem=plain.encode("ascii"))

    def _signers(self, keys: Iterable[StoredKey]) -> list[Signer]:
        from securesystemslib.signer import CryptoSigner

        return [CryptoSigner(self.private(key)) for key in keys]

    @_alone
    def _found(self) -> Keyring:
        return self if self.store.roots else self._written(self._with_next_root())

    def _with_next_root(self) -> Store:
        from flashvisor.trust.rootchain import next_root

        root = next_root(self.roots, self.tuf_keys(), self.outgoing_tuf_signers("root"), clock.now())
        return replace(self.store, roots=(*self.store.roots, root.decode("utf-8")))

    def _written(self, store: Store) -> Keyring:
        keystore.write(self.directory, store)
        return Keyring(self.directory, store, self._ask)


def _retire(key: StoredKey) -> StoredKey:
    return replace(key, state=State.RETIRED, private=key.private if ROLES[key.role].keeps_private else None)
