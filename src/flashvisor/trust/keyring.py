"""The owner's keyring: every private key that makes a server the owner's, in one file.

Owns what becomes of keys: made, rotated, locked. Does not own which one answers for a role (keys.py), the file's form
(keystore.py) or certificates' contents (certificates.py). Admin side only::

    keyring = Keyring.create(default_directory(), "Example GmbH", passphrase=b"five random words ...")
    keyring = Keyring.open(default_directory(), ask=ask_passphrase)    # asks once, when a private key is needed
    identity = keyring.issue_node("alpha")     # goes into the server's flash, is not kept here
    with keyring.unlocked("db") as files:
        sign(image, output, key=files.key, cert=files.cert)
    keyring.signing("PK")                      # a key on a PKCS#11 token signs too, but is no file
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from msgspec.structs import replace

from flashvisor.errors import (
    FlashvisorError,
    KeyringDamagedError,
    KeyringExistsError,
    OldKeyringError,
    OwnerNameError,
)
from flashvisor.host import clock
from flashvisor.host.files import write_directory_once
from flashvisor.host.locks import exclusive
from flashvisor.trust import certificates, keystore
from flashvisor.trust.keymaker import ONE_OF_ONE, Maker, make_all, new_secret
from flashvisor.trust.keys import Keys, no_pin, nobody
from flashvisor.trust.keystore import State, Store, StoredKey
from flashvisor.trust.roles import ROLES, TUF, TUF_ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flashvisor.trust.certificates import Address
    from flashvisor.trust.keymaker import OnToken

OWNER_LIMIT = 64  # characters (X.520, ub-organization-name)

P = ParamSpec("P")


@dataclass(frozen=True)
class NodeIdentity:
    """What a server proves its name with: certificate and private key as PEM."""

    cert_pem: bytes
    key_pem: bytes


def default_directory() -> Path:
    """$FLASHVISOR_KEYS, else ~/.local/share/flashvisor/keys."""
    named = os.environ.get("FLASHVISOR_KEYS")
    return Path(named) if named else Path.home() / ".local" / "share" / "flashvisor" / "keys"


def _alone(change: Callable[Concatenate[Keyring, P], Keyring]) -> Callable[Concatenate[Keyring, P], Keyring]:
    """Lets one process at a time change a keyring's file, and each go on from what is in it by then."""

    @functools.wraps(change)
    def held(self: Keyring, /, *args: P.args, **kwargs: P.kwargs) -> Keyring:
        with exclusive(self.directory / keystore.LOCK):
            return change(self._with(keystore.read(self.directory)), *args, **kwargs)

    return held


class Keyring(Keys):
    """The owner's keys. Made by `create` once, opened by `open` ever after."""

    @classmethod
    def create(
        cls,
        directory: Path,
        owner: str,
        *,
        passphrase: bytes | None = None,
        root_keys: tuple[int, int] = ONE_OF_ONE,
        place: OnToken | None = None,
    ) -> Keyring:
        """Makes all keys of a new owner; all of them are written, or none.

        Args:
            directory: Must not exist, or be empty. Gets mode 0700, its file 0600.
            owner: The owner's name, which stands in every certificate.
            passphrase: Encrypts the private keys; None leaves them readable to whoever can read the file.
            root_keys: How many keys the TUF root has, and how many of them must sign.
            place: The roles whose keys are made on a token, which holds their private parts alone.

        Raises:
            KeyringExistsError: something is in the directory already; nothing was changed.
            OwnerNameError: the owner's name is empty, too long or not printable.
            WeakPassphraseError: the passphrase is too short.
            NotOnTokenError: a role's key cannot lie on a token.
            TokenMissingError, WrongPinError, TokenRefusedError: the token cannot be used.
        """
        if not owner.strip() or len(owner) > OWNER_LIMIT or not owner.isprintable():
            raise OwnerNameError(f"the owner's name must have 1 to {OWNER_LIMIT} printable characters, got {owner!r}")
        salt, secret = new_secret(passphrase)
        if place:
            place.check(root_keys[0] if "tuf-root" in place.roles else 1)
        answer = nobody if passphrase is None else lambda: passphrase
        made = cls(directory, make_all(owner, salt, secret, root_keys, place), answer)
        if place:
            made._knows(place.token)
        try:
            made.store = made._with_next_root()
            data = keystore.encode(made.store)
            write_directory_once(directory, {keystore.STORE: data}, mode=0o600, directory_mode=0o700)
        except (FileExistsError, FlashvisorError) as error:
            if place:
                place.destroy(made.store.keys)
            if isinstance(error, FlashvisorError):
                raise
            raise KeyringExistsError(f"{directory} is not empty, and keys are never overwritten") from error
        return made

    @classmethod
    def open(
        cls, directory: Path, ask: Callable[[], bytes] = nobody, ask_pin: Callable[[str], bytes] = no_pin
    ) -> Keyring:
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
        return cls(directory, store, ask, ask_pin)

    def issue_node(self, name: str, addresses: Iterable[Address] = ()) -> NodeIdentity:
        """Issues a server's identity. Its private key is not kept here: it belongs into the server's flash alone.

        Args:
            name: The server's name (model.site.Name).
            addresses: IP addresses that the certificate is good for besides the names.
        """
        pair = certificates.issue_server(self.signing("ca"), name, clock.now(), addresses)
        return NodeIdentity(cert_pem=pair.cert_pem, key_pem=pair.key_pem)

    def founded(self) -> Keyring:
        """Returns the keyring with a chain of roots. Where it has none yet, the first is made, and the file written.

        Raises:
            OldKeyringError: it has no keys to sign a root with.
        """
        return self if self.store.roots else self._found()

    @_alone
    def rotate(self, role: str, place: OnToken | None = None) -> Keyring:
        """Makes new keys for a role, keeps what the old ones stand for (ROLES), and writes the keyring's file.

        New keys are made where the old ones are, or on `place`, which may name a key that is there already. Keys on a
        token stay there, even if the keyring gives them up. New keys of a TUF role are named by the next root, which is
        added to the chain.

        Returns:
            The keyring with the new keys.
        """
        replaced = self.active(role)
        if self.is_first_form:
            raise OldKeyringError(f"the keyring in {self.directory} cannot be changed in its old form")
        if place:
            place.check(len(replaced))
            self._knows(place.token)
        tokens = [place.token if place else self._token(key.token) if key.token else None for key in replaced]
        for key, token in zip(replaced, tokens, strict=True):
            if token is None:
                self.private(key)  # a mistyped passphrase must not encrypt the new key
        maker = Maker(self.owner, self._secret if None in tokens else None)
        authority = self.signing("ca") if role == "admin" else None
        made = [maker.make(role, authority=authority, token=token) for token in tokens]
        kept = [_retire(key) if key in replaced else key for key in self.store.keys]
        rotated: Keyring = self._with(replace(self.store, keys=(*kept, *made)))
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
            keys += Maker(self.owner, secret).make_tuf(ONE_OF_ONE[0])
            thresholds = dict.fromkeys(TUF_ROLES, 1)
        store = replace(self.store, salt=salt, keys=tuple(keys), thresholds=thresholds)
        locked: Keyring = self._with(store, nobody if passphrase is None else lambda: passphrase)
        done = locked._written(store if store.roots else locked._with_next_root())
        self.drop_first_form()
        return done

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

    @_alone
    def _found(self) -> Keyring:
        return self if self.store.roots else self._written(self._with_next_root())

    def _with_next_root(self) -> Store:
        from flashvisor.trust.rootchain import next_root

        root = next_root(self.roots, self.tuf_keys(), self.outgoing_tuf_signers("root"), clock.now())
        return replace(self.store, roots=(*self.store.roots, root.decode("utf-8")))

    def _written(self, store: Store) -> Keyring:
        keystore.write(self.directory, store)
        return self._with(store)

    def _with(self, store: Store, ask: Callable[[], bytes] | None = None) -> Keyring:
        """Returns this keyring with other contents. What was asked for once is known to it."""
        other = Keyring(self.directory, store, ask or self._ask, self._ask_pin)
        other._tokens = self._tokens
        return other


def _retire(key: StoredKey) -> StoredKey:
    if ROLES[key.role].keeps_private:
        return replace(key, state=State.RETIRED)
    return replace(key, state=State.RETIRED, private=None, token=None)
