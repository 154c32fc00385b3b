"""What an owner's keyring holds, and what opens it: the passphrase, or a token's PIN. Reads; changes nothing.

Owns which key answers for a role. Does not own what becomes of keys (keyring.py) or the file's form (keystore.py)::

    keys.certificate("db")                     # public things need no passphrase
    with keys.unlocked("db") as files: ...
    keys.signing("PK")                         # a key on a PKCS#11 token signs too, but is no file
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as altered
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import NotOnTokenError, OldKeyringError, PassphraseNeededError, PinNeededError, UnknownNameError
from flashvisor.host.memory import memory_file
from flashvisor.trust import keystore
from flashvisor.trust.certificates import Pair
from flashvisor.trust.keystore import State, Store, StoredKey
from flashvisor.trust.roles import ROLES, TUF, TUF_ROLES, RoleSigners
from flashvisor.trust.token import Token
from flashvisor.trust.tokenuri import parse

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Iterator

    from securesystemslib.signer import Signer

    from flashvisor.trust.certificates import SigningKey
    from flashvisor.trust.tokenuri import TokenUri


@dataclass(frozen=True)
class KeyFiles:
    """Where a certificate and its private key can be read, both as PEM. The key is not encrypted."""

    cert: Path
    key: Path


def nobody() -> bytes:
    """Answers for a keyring that was opened with nobody to ask.

    Raises:
        PassphraseNeededError: always.
    """
    raise PassphraseNeededError("the keyring is encrypted, and there is nobody to ask for its passphrase")


def no_pin(token: str) -> bytes:
    """Answers for a keyring that was opened with nobody to ask for a token's PIN.

    Raises:
        PinNeededError: always.
    """
    raise PinNeededError(f"a private key lies on {token}, and there is nobody to ask for its PIN")


class Keys:
    """The keys of a keyring.

    Args:
        directory: Where `keyring.json` lies.
        store: What is in it.
        ask: Returns the passphrase; called once at most, when the first private key is needed.
        ask_pin: Returns the PIN of a token, whose name it is given; called once at most for each.
    """

    def __init__(
        self,
        directory: Path,
        store: Store,
        ask: Callable[[], bytes] = nobody,
        ask_pin: Callable[[str], bytes] = no_pin,
    ) -> None:
        self.directory = directory
        self.store = store
        self._ask = functools.cache(ask)
        self._ask_pin = ask_pin
        self._tokens: dict[TokenUri, Token] = {}

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
    def is_first_form(self) -> bool:
        """Whether it lies in the first version's form: readable, but it can neither be rotated nor sign releases."""
        return not self.store.thresholds

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
        """Returns a role's certificate and its private key, not encrypted, for what takes a key only as text.

        Raises:
            NotOnTokenError: the private key is on a token.
            WrongPassphraseError: the passphrase does not open it.
        """
        key = self.active(role)[0]
        if key.token:
            raise NotOnTokenError(f"the private key of '{role}' never leaves its token, {key.token}")
        plain = keystore.lock(self.private(key), None)
        return Pair(cert_pem=key.public.encode("ascii"), key_pem=plain.encode("ascii"))

    def signing(self, role: str) -> SigningKey:
        """Returns a role's certificate, and the private key or what signs with it on its token. Not for TUF's roles.

        Raises:
            WrongPassphraseError: the passphrase does not open it.
        """
        return self._signing(self.active(role)[0])

    def outgoing_signing(self, role: str) -> SigningKey | None:
        """Returns what signed for a role before it was rotated last; None if it never was."""
        kept = [key for key in self.store.keys if key.role == role and key.state is State.RETIRED and key.signs]
        return self._signing(kept[-1]) if kept else None

    @contextmanager
    def unlocked(self, role: str) -> Iterator[KeyFiles]:
        """Yields a role's certificate and private key as files in memory, for programs that take nothing else."""
        pair = self.pair(role)
        with memory_file(pair.cert_pem) as cert, memory_file(pair.key_pem) as key:
            yield KeyFiles(cert, key)

    def on_token(self, role: str) -> bool:
        """Whether the private key that signs for a role lies on a token."""
        return self.active(role)[0].token is not None

    def tuf_signers(self, role: str) -> RoleSigners:
        """Returns who signs for a TUF role, in the order in which the keys were made, and how many of them must."""
        return RoleSigners(self._signers(self.active(f"{TUF}{role}")), self.store.thresholds[role])

    def tuf_keys(self) -> dict[str, RoleSigners]:
        """Returns who signs for each TUF role."""
        return {role: self.tuf_signers(role) for role in TUF_ROLES}

    def outgoing_tuf_signers(self, role: str) -> list[Signer]:
        """Returns the signers that were rotated out and still can sign: a new root needs the old root's signatures."""
        return self._signers(
            key for key in self.store.keys if key.role == f"{TUF}{role}" and key.state is State.RETIRED and key.signs
        )

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The chain of TUF root metadata, version 1 first. Empty in an older keyring: `founded` makes the first."""
        return tuple(text.encode("utf-8") for text in self.store.roots)

    def private(self, key: StoredKey) -> keystore.PrivateKey:
        """Returns a stored private key, or what signs with it on its token.

        Raises:
            KeyringDamagedError: it was given up.
            WrongPassphraseError: the passphrase does not open it.
        """
        return keystore.private(key, *self._opens(key))

    @cached_property
    def _secret(self) -> bytes | None:
        return keystore.password(self._ask(), self.store.salt) if self.store.salt else None

    def _signing(self, key: StoredKey) -> SigningKey:
        return keystore.signing(key, *self._opens(key))

    def _opens(self, key: StoredKey) -> tuple[bytes | None, Token | None]:
        """Returns what opens a key: the keyring's secret, or the token that has it."""
        return (None, self._token(key.token)) if key.token else (self._secret, None)

    def _token(self, uri: str) -> Token:
        """Returns the token that a key lies on; one object for all its keys, so its PIN is asked for once."""
        place = _place(parse(uri))
        return self._tokens.setdefault(place, Token(place, self._ask_pin))

    def _knows(self, token: Token) -> None:
        """Takes over a token whose PIN is known already."""
        self._tokens.setdefault(_place(token.uri), token)

    def _signers(self, keys: Iterable[StoredKey]) -> list[Signer]:
        from securesystemslib.signer import CryptoSigner

        return [CryptoSigner(self.private(key)) for key in keys]


def _place(uri: TokenUri) -> TokenUri:
    """Returns the token that a key's URI names, without the key."""
    return altered(uri, id=b"", object="")
