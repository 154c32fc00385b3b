"""Private keys on a PKCS#11 token: made there, used there, never read from there (ADR 0021).

Owns every call of `python-pkcs11`, and turns what it says into errors. Its keys are tokenkeys.py's::

    token = Token(parse("pkcs11:token=Owner"), ask_pin)
    uri, key = token.make(Kind.RSA, "flashvisor db")
    token.key(uri, key.public_key()).sign(data, PKCS1v15(), SHA256())

Each call opens a session, logs in and closes it: a token may be pulled at any time between two. Source: PKCS #11 2.40.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from flashvisor.errors import (
    TokenKeyMissingError,
    TokenLibraryError,
    TokenMissingError,
    TokenRefusedError,
    WrongPinError,
)
from flashvisor.trust.certificates import RSA_BITS
from flashvisor.trust.tokenkeys import Kind, TokenEcKey, TokenEd25519Key, TokenRsaKey, prove
from flashvisor.trust.tokenuri import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flashvisor.trust.tokenkeys import PublicKey, TokenKey
    from flashvisor.trust.tokenuri import TokenUri

ID_SIZE = 16  # bytes of a new key's CKA_ID
P256_POINT, ED25519_POINT = 65, 32  # bytes of an EC_POINT, behind the header that tokens put before it or not
P256_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")  # DER of OBJECT IDENTIFIER 1.2.840.10045.3.1.7
ED25519_PARAMETERS = bytes.fromhex("06032b6570")  # DER of OBJECT IDENTIFIER 1.3.101.112 (RFC 8410)


class Token:
    """A token, and who knows its PIN.

    Args:
        uri: Names it, and for `obtain` and `take` a key on it.
        ask: Returns the PIN; called when it is first needed, and never again after that. Nor is a PIN that was refused
            tried again: after a few, tokens lock themselves.
    """

    def __init__(self, uri: TokenUri, ask: Callable[[str], bytes]) -> None:
        self.uri = uri
        self._ask = ask
        self._pin: str | None = None
        self._refused: WrongPinError | None = None

    def check(self, *kinds: Kind) -> None:
        """Finds the token, logs in, and sees whether it can make and use keys of these kinds.

        Raises:
            TokenMissingError, WrongPinError, TokenLibraryError: it cannot be reached.
            TokenRefusedError: it cannot.
        """
        with self._session() as session:
            can = {getattr(each, "name", "") for each in session.token.slot.get_mechanisms()}
        for kind in kinds:
            needed = kind.value[1:] if self.uri.names_key else kind.value
            if absent := [name for name in needed if name not in can]:
                raise TokenRefusedError(f"{self} cannot do {kind.name}: it lacks the mechanism {', '.join(absent)}")

    def obtain(self, kind: Kind, label: str) -> tuple[TokenUri, TokenKey]:
        """Returns the key that the token's URI names; if it names none, makes one. See `take` and `make`."""
        return self.take(kind) if self.uri.names_key else self.make(kind, label)

    def take(self, kind: Kind) -> tuple[TokenUri, TokenKey]:
        """Returns a key that was made on the token by other means, after a signature that proves it.

        Raises:
            TokenKeyMissingError: the token has no such key, or only one half of it.
            TokenRefusedError: it is of another kind.
        """
        from pkcs11 import Attribute, ObjectClass

        with self._session() as session:
            found = _one(session, ObjectClass.PUBLIC_KEY, self.uri)
            if not _is_of(kind, found):
                raise TokenRefusedError(f"the key {self.uri} is not of the kind that the role has: {kind.name}")
            uri = replace(self.uri, id=bytes(found[Attribute.ID]))
            key = self.key(uri, _public(kind, found))
        prove(key)
        return uri, key

    def make(self, kind: Kind, label: str) -> tuple[TokenUri, TokenKey]:
        """Makes a key on the token.

        Args:
            kind: What kind of key.
            label: What people read of it in the token's own tools.

        Returns:
            The new key's URI, and the key.
        """
        from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag

        key_id = os.urandom(ID_SIZE)
        private = {Attribute.EXTRACTABLE: False, Attribute.DECRYPT: False, Attribute.UNWRAP: False}
        words: dict[str, Any] = {"id": key_id, "label": label, "store": True, "private_template": private}
        words |= {"mechanism": Mechanism[kind.value[0]], "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY}
        with self._session(rw=True) as session:
            if kind is Kind.RSA:
                public, _ = session.generate_keypair(KeyType.RSA, RSA_BITS, **words)
            else:
                edwards = kind is Kind.ED25519
                parameters = {Attribute.EC_PARAMS: ED25519_PARAMETERS if edwards else P256_PARAMETERS}
                type_ = KeyType.EC_EDWARDS if edwards else KeyType.EC
                domain = session.create_domain_parameters(type_, parameters, local=True)
                public, _ = domain.generate_keypair(**words)
            made = _public(kind, public)
        uri = replace(self.uri, id=key_id, object=label)
        return uri, self.key(uri, made)

    def destroy(self, uri: str) -> None:
        """Deletes both halves of a key from the token."""
        from pkcs11 import Attribute

        with self._session(rw=True) as session:
            for each in list(session.get_objects({Attribute.ID: parse(uri).id})):
                each.destroy()

    def key(self, uri: TokenUri, public: PublicKey) -> TokenKey:
        """Returns a key that is on the token already, without asking the token."""
        if isinstance(public, rsa.RSAPublicKey):
            return TokenRsaKey(self, uri, public)
        if isinstance(public, ec.EllipticCurvePublicKey):
            return TokenEcKey(self, uri, public)
        return TokenEd25519Key(self, uri, public)

    def sign(self, uri: TokenUri, kind: Kind, data: bytes) -> bytes:
        """Returns the token's signature over data, as PKCS #11 gives it.

        Raises:
            TokenKeyMissingError: the key is not there.
        """
        from pkcs11 import Mechanism, ObjectClass

        with self._session() as session:
            found = _one(session, ObjectClass.PRIVATE_KEY, uri)
            return bytes(found.sign(data, mechanism=Mechanism[kind.value[1]]))

    @property
    def pin(self) -> str:
        """The PIN; asked for once."""
        if self._pin is None:
            try:
                self._pin = self._ask(str(self)).decode()
            except UnicodeDecodeError as error:
                raise WrongPinError(f"the PIN of {self} is not UTF-8") from error
        return self._pin

    def __str__(self) -> str:
        """As sentences call it."""
        return f"the token '{self.uri.token or self.uri.serial or self.uri.model or self.uri.manufacturer}'"

    @contextmanager
    def _session(self, *, rw: bool = False) -> Iterator[Any]:
        if self._refused:
            raise self._refused
        try:
            with _answers(self), self._find().open(rw=rw, user_pin=self.pin) as session:
                yield session
        except WrongPinError as error:
            self._refused = error
            raise

    def _find(self) -> Any:  # noqa: ANN401 - python-pkcs11's classes exist only once a library is loaded
        fits = [each for each in _library(self.uri.library).get_tokens() if self._is(each)]
        if not fits:
            raise TokenMissingError(f"{self} is not there")
        if len(fits) > 1:
            raise TokenMissingError(f"{len(fits)} tokens fit {self}: name the right one by its serial number too")
        return fits[0]

    def _is(self, found: Any) -> bool:  # noqa: ANN401 - see _find
        serial = found.serial.decode(errors="replace") if isinstance(found.serial, bytes) else found.serial
        has = {"token": found.label, "manufacturer": found.manufacturer_id, "serial": serial, "model": found.model}
        return all(getattr(self.uri, name) in ("", value.strip().strip("\0")) for name, value in has.items())


def _library(path: str) -> Any:  # noqa: ANN401 - python-pkcs11's classes exist only once a library is loaded
    try:
        import pkcs11
    except ImportError as error:
        raise TokenLibraryError(
            "the Python package python-pkcs11 is not installed", next_step="Run `make setup` again."
        ) from error
    try:
        return pkcs11.lib(path)
    except pkcs11.PKCS11Error as error:
        raise TokenLibraryError(f"the PKCS#11 library {path} does not start", evidence=repr(error)) from error
    except RuntimeError as error:  # dlopen(3) failed
        raise TokenLibraryError(f"the PKCS#11 library {path} cannot be loaded", evidence=str(error)) from error


@contextmanager
def _answers(token: Token) -> Iterator[None]:
    """Turns what a token says into our errors."""
    _library(token.uri.library)
    from pkcs11 import exceptions as said

    try:
        yield
    except (said.PinIncorrect, said.PinInvalid, said.PinLenRange) as error:
        raise WrongPinError(f"{token} refused the PIN") from error
    except (said.PinLocked, said.PinExpired, said.UserPinNotInitialized) as error:
        raise WrongPinError(f"{token} takes no PIN: {type(error).__name__}") from error
    except (said.TokenNotPresent, said.TokenNotRecognised, said.DeviceRemoved) as error:
        raise TokenMissingError(f"{token} was pulled, or is not readable") from error
    except said.PKCS11Error as error:
        raise TokenRefusedError(f"{token} did not do what it was asked", evidence=repr(error)) from error


def _one(session: Any, half: Any, uri: TokenUri) -> Any:  # noqa: ANN401 - see _library
    """Returns the public or private half of a key."""
    from pkcs11 import exceptions as said

    try:
        return session.get_key(object_class=half, id=uri.id or None, label=None if uri.id else uri.object)
    except (said.NoSuchKey, said.MultipleObjectsReturned) as error:
        raise TokenKeyMissingError(f"the token does not hold the key {uri}") from error


def _is_of(kind: Kind, found: Any) -> bool:  # noqa: ANN401 - see _library
    from pkcs11 import Attribute, KeyType

    if kind is Kind.RSA:
        return found.key_type is KeyType.RSA and found.key_length == RSA_BITS
    if kind is Kind.P256:
        return found.key_type is KeyType.EC and found[Attribute.EC_PARAMS] == P256_PARAMETERS
    return found.key_type is KeyType.EC_EDWARDS


def _public(kind: Kind, made: Any) -> PublicKey:  # noqa: ANN401 - see _library
    from pkcs11 import Attribute

    if kind is Kind.RSA:
        modulus = int.from_bytes(made[Attribute.MODULUS], "big")
        return rsa.RSAPublicNumbers(int.from_bytes(made[Attribute.PUBLIC_EXPONENT], "big"), modulus).public_key()
    point = made[Attribute.EC_POINT]
    if kind is Kind.P256:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[-P256_POINT:])
    return ed25519.Ed25519PublicKey.from_public_bytes(point[-ED25519_POINT:])
