"""X.509 certificates of the owner: a CA, servers, clients, and RSA keys that sign images and modules.

Owns what stands in each certificate. Does not own where keys lie (keyring.py). Runs on the administrator's
machine only: a server in flash holds finished certificates and checks them with the standard library's ssl::

    authority = make_authority("Example GmbH", now)
    server = issue_server(authority, "alpha", now)
    server.cert_pem, server.key_pem

Source: RFC 5280; the extensions are those that Python 3.13's VERIFY_X509_STRICT demands.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A server whose clock battery is empty wakes up in the year 2000 or later; its certificates must hold there too.
NOT_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365.25)
AUTHORITY_YEARS = 25
LEAF_YEARS = 10
RSA_BITS = 2048  # what every UEFI firmware takes (UEFI 2.10, 32.4.1), and half the bytes per module of 4096
SERVER_ALIAS = "flashvisor"  # every server's second name: clients check it, so addresses and port forwards may change

_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Pair:
    """A certificate, or for ed25519 the bare public key, and the private key (PKCS #8, not encrypted), as PEM."""

    cert_pem: bytes
    key_pem: bytes

    def opened(self) -> SigningKey:
        """Returns the same, ready to sign. Not for ed25519."""
        key = serialization.load_pem_private_key(self.key_pem, password=None)
        if not isinstance(key, PrivateKey):
            raise TypeError("certificates are of EC and RSA keys")
        return SigningKey(self.cert_pem, key)


@dataclass(frozen=True)
class SigningKey:
    """A certificate (PEM) and its private key, in memory or on a token."""

    cert_pem: bytes
    key: PrivateKey


class Purpose(Enum):
    """What a self-made RSA key signs."""

    SECURE_BOOT = "secure boot"
    MODULES = "modules"


@dataclass(frozen=True)
class _Wish:
    """All that makes one certificate differ from another."""

    subject: x509.Name
    key: PrivateKey
    years: int
    usages: Sequence[str]
    is_ca: bool = False
    extended: Sequence[x509.ObjectIdentifier] = ()
    names: Sequence[x509.GeneralName] = ()


def make_authority(owner: str, now: datetime) -> Pair:
    """Makes the owner's CA for servers and clients (EC P-256, valid for 25 years from `now`)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _pair(authority_certificate(key, owner, now), key)


def authority_certificate(key: ec.EllipticCurvePrivateKey, owner: str, now: datetime) -> bytes:
    """Returns the certificate (PEM) of the owner's CA for a key that there is already."""
    wish = _Wish(
        subject=_name("flashvisor owner CA", owner),
        key=key,
        years=AUTHORITY_YEARS,
        usages=("key_cert_sign", "crl_sign"),
        is_ca=True,
    )
    return _self_signed(wish, now)


def issue_server(authority: SigningKey, name: str, now: datetime, addresses: Iterable[Address] = ()) -> Pair:
    """Issues a server's certificate for TLS (EC P-256, 10 years), good for `name`, "flashvisor" and the addresses."""
    names = [x509.DNSName(name), x509.DNSName(SERVER_ALIAS), *(x509.IPAddress(item) for item in addresses)]
    return _issued(authority, name, ExtendedKeyUsageOID.SERVER_AUTH, names, now)


def issue_client(authority: SigningKey, name: str, now: datetime) -> Pair:
    """Issues a client's certificate for TLS (EC P-256, 10 years)."""
    return _issued(authority, name, ExtendedKeyUsageOID.CLIENT_AUTH, [], now)


def make_signer(name: str, owner: str, purpose: Purpose, now: datetime) -> Pair:
    """Makes a self-signed RSA key for signatures on images or kernel modules (25 years)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return _pair(signer_certificate(key, name, owner, purpose, now), key)


def signer_certificate(key: rsa.RSAPrivateKey, name: str, owner: str, purpose: Purpose, now: datetime) -> bytes:
    """Returns the certificate (PEM) of an RSA key that there is already, for what `make_signer` makes one for.

    Source: UEFI 2.10, 32.4.1; Linux, Documentation/admin-guide/module-signing.rst, certs/default_x509.genkey.
    """
    extended = (ExtendedKeyUsageOID.CODE_SIGNING,) if purpose is Purpose.SECURE_BOOT else ()
    wish = _Wish(
        subject=_name(name, owner),
        key=key,
        years=AUTHORITY_YEARS,
        usages=("digital_signature",),
        extended=extended,
    )
    return _self_signed(wish, now)


def make_ed25519() -> Pair:
    """Makes a key for TUF metadata: the bare public key, for TUF's root says whose it is (RFC 8410)."""
    key = ed25519.Ed25519PrivateKey.generate()
    return _pair(bare_public(key), key)


def bare_public(key: ed25519.Ed25519PrivateKey) -> bytes:
    """Returns the public key as PEM (SubjectPublicKeyInfo)."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def to_der(cert_pem: bytes) -> bytes:
    """Returns a certificate's DER form."""
    return x509.load_pem_x509_certificate(cert_pem).public_bytes(serialization.Encoding.DER)


def fingerprint(cert_pem: bytes) -> str:
    """Returns the SHA-256 of a certificate's DER form as 64 hex digits."""
    return x509.load_pem_x509_certificate(cert_pem).fingerprint(hashes.SHA256()).hex()


def public_fingerprint(public_pem: bytes) -> str:
    """Returns the SHA-256 of a bare public key's DER form as 64 hex digits."""
    key = serialization.load_pem_public_key(public_pem)
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def public_key(pem: bytes) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    """Returns the public key of a certificate, or a bare public key."""
    certified = b"BEGIN CERTIFICATE" in pem
    found = x509.load_pem_x509_certificate(pem).public_key() if certified else serialization.load_pem_public_key(pem)
    if not isinstance(found, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise TypeError(f"no role has a key of the kind {type(found).__name__}")
    return found


def subject(cert_pem: bytes) -> str:
    """Returns a certificate's subject as RFC 4514 writes it."""
    return x509.load_pem_x509_certificate(cert_pem).subject.rfc4514_string()


def not_after(cert_pem: bytes) -> datetime:
    """Returns the last moment of a certificate's validity, in UTC."""
    return x509.load_pem_x509_certificate(cert_pem).not_valid_after_utc


def _issued(
    authority: SigningKey, name: str, use: x509.ObjectIdentifier, names: Sequence[x509.GeneralName], now: datetime
) -> Pair:
    issuer = x509.load_pem_x509_certificate(authority.cert_pem)
    if not isinstance(authority.key, ec.EllipticCurvePrivateKey):
        raise TypeError("the owner's CA has an EC key")
    owner = str(issuer.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)
    key = ec.generate_private_key(ec.SECP256R1())
    wish = _Wish(
        subject=_name(name, owner),
        key=key,
        years=LEAF_YEARS,
        usages=("digital_signature",),
        extended=(use,),
        names=names,
    )
    return _pair(_signed(wish, issuer.subject, authority.key, now), key)


def _self_signed(wish: _Wish, now: datetime) -> bytes:
    return _signed(wish, wish.subject, wish.key, now)


def _signed(wish: _Wish, issuer: x509.Name, signer: PrivateKey, now: datetime) -> bytes:
    usages = dict.fromkeys(_KEY_USAGES, False) | dict.fromkeys(wish.usages, True)
    builder = (
        x509.CertificateBuilder()
        .subject_name(wish.subject)
        .issuer_name(issuer)
        .public_key(wish.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(now.replace(microsecond=0) + wish.years * YEAR)
        .add_extension(x509.BasicConstraints(ca=wish.is_ca, path_length=0 if wish.is_ca else None), critical=True)
        .add_extension(x509.KeyUsage(**usages), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(wish.key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if wish.extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wish.extended), critical=False)
    if wish.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(wish.names), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pair(public: bytes, key: PrivateKey | ed25519.Ed25519PrivateKey) -> Pair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(cert_pem=public, key_pem=private)


def _name(common: str, owner: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, owner), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )
