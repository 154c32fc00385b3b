"""A token's keys as `cryptography` has private keys.

So certificates, PKCS #7 and TUF metadata are signed with them by the same code that signs with keys in memory.
Owns which signatures each kind makes. Does not own how a token is reached (token.py). Each signature is verified before
it is given out: another token of the same name has other keys::

    TokenRsaKey(token, uri, public).sign(data, PKCS1v15(), SHA256())

Source: PKCS #11 Current Mechanisms, 2.40 (RSA, ECDSA) and 3.0 (EdDSA).
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, Any, Never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from flashvisor.errors import NotOnTokenError, TokenKeyMissingError

if TYPE_CHECKING:
    from flashvisor.trust.token import Token
    from flashvisor.trust.tokenuri import TokenUri

PROBE = b"flashvisor: does this key sign?"
P256_HALF = 32  # bytes of each of ECDSA's two numbers

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class Kind(Enum):
    """What kind of key, with the names of the mechanisms that make it and sign with it (PKCS #11)."""

    RSA = ("RSA_PKCS_KEY_PAIR_GEN", "SHA256_RSA_PKCS")
    P256 = ("EC_KEY_PAIR_GEN", "ECDSA")
    ED25519 = ("EC_EDWARDS_KEY_PAIR_GEN", "EDDSA")


class _Held:
    """What the three kinds of keys on a token have in common."""

    def __init__(self, token: Token, uri: TokenUri) -> None:
        self.token = token
        self.uri = uri

    def _stays(self) -> Never:
        raise NotOnTokenError(f"the private key {self.uri.object or self.uri} never leaves {self.token}")

    def _foreign(self) -> TokenKeyMissingError:
        return TokenKeyMissingError(f"{self.token} holds another key as {self.uri} than the keyring says")


class TokenRsaKey(_Held, rsa.RSAPrivateKey):
    """An RSA key on a token; signs PKCS #1 v1.5 with SHA-256."""

    def __init__(self, token: Token, uri: TokenUri, public: rsa.RSAPublicKey) -> None:
        super().__init__(token, uri)
        self._public = public

    def sign(self, data: bytes, padding_: Any, algorithm: Any) -> bytes:  # noqa: ANN401 - as in cryptography
        """See RSAPrivateKey."""
        if not (isinstance(padding_, padding.PKCS1v15) and isinstance(algorithm, hashes.SHA256)):
            raise TypeError("a token signs PKCS #1 v1.5 with SHA-256 only")
        signature = self.token.sign(self.uri, Kind.RSA, bytes(data))
        try:
            self._public.verify(signature, data, padding_, algorithm)
        except InvalidSignature as error:
            raise self._foreign() from error
        return signature

    def public_key(self) -> rsa.RSAPublicKey:
        """See RSAPrivateKey."""
        return self._public

    @property
    def key_size(self) -> int:
        """See RSAPrivateKey."""
        return self._public.key_size

    def decrypt(self, ciphertext: bytes, padding: Any) -> bytes:  # noqa: ANN401 - as in cryptography
        """Not what these keys are for."""
        self._stays()

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        """A token tells nobody."""
        self._stays()

    def private_bytes(self, *_: object) -> bytes:
        """A token tells nobody."""
        self._stays()

    def __copy__(self) -> TokenRsaKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenRsaKey:
        return self


class TokenEcKey(_Held, ec.EllipticCurvePrivateKey):
    """A P-256 key on a token; signs ECDSA with SHA-256."""

    def __init__(self, token: Token, uri: TokenUri, public: ec.EllipticCurvePublicKey) -> None:
        super().__init__(token, uri)
        self._public = public

    def sign(self, data: Any, signature_algorithm: Any) -> bytes:  # noqa: ANN401 - as in cryptography
        """See EllipticCurvePrivateKey."""
        if not isinstance(signature_algorithm.algorithm, hashes.SHA256):
            raise TypeError("a token signs ECDSA with SHA-256 only")
        raw = self.token.sign(self.uri, Kind.P256, hashlib.sha256(data).digest())
        signature = encode_dss_signature(int.from_bytes(raw[:P256_HALF], "big"), int.from_bytes(raw[P256_HALF:], "big"))
        try:
            self._public.verify(signature, data, signature_algorithm)
        except InvalidSignature as error:
            raise self._foreign() from error
        return signature

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """See EllipticCurvePrivateKey."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """See EllipticCurvePrivateKey."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """See EllipticCurvePrivateKey."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Not what these keys are for."""
        self._stays()

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """A token tells nobody."""
        self._stays()

    def private_bytes(self, *_: object) -> bytes:
        """A token tells nobody."""
        self._stays()

    def __copy__(self) -> TokenEcKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenEcKey:
        return self


class TokenEd25519Key(_Held, ed25519.Ed25519PrivateKey):
    """An ed25519 key on a token."""

    def __init__(self, token: Token, uri: TokenUri, public: ed25519.Ed25519PublicKey) -> None:
        super().__init__(token, uri)
        self._public = public

    def sign(self, data: Any) -> bytes:  # noqa: ANN401 - as in cryptography
        """See Ed25519PrivateKey."""
        signature = self.token.sign(self.uri, Kind.ED25519, bytes(data))
        try:
            self._public.verify(signature, data)
        except InvalidSignature as error:
            raise self._foreign() from error
        return signature

    def public_key(self) -> ed25519.Ed25519PublicKey:
        """See Ed25519PrivateKey."""
        return self._public

    def private_bytes(self, *_: object) -> bytes:
        """A token tells nobody."""
        self._stays()

    def private_bytes_raw(self) -> bytes:
        """A token tells nobody."""
        self._stays()

    def __copy__(self) -> TokenEd25519Key:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenEd25519Key:
        return self


TokenKey = TokenRsaKey | TokenEcKey | TokenEd25519Key


def prove(key: TokenKey) -> None:
    """Has a key sign something: its private half is there, and fits.

    Raises:
        TokenKeyMissingError: it is not, or does not.
    """
    if isinstance(key, TokenRsaKey):
        key.sign(PROBE, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, TokenEcKey):
        key.sign(PROBE, ec.ECDSA(hashes.SHA256()))
    else:
        key.sign(PROBE)
