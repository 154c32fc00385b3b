"""Secure Boot's variables as bytes that the owner signed: firmware, or an agent that writes them, needs nothing else.

Owns EFI_SIGNATURE_LIST and EFI_VARIABLE_AUTHENTICATION_2 (UEFI 2.10, 32.4.1 and 8.2.2). Pure: keys and a time in,
bytes out. Admin side only; the server's side is to write `data` with `attributes`, in the order given::

    for payload in enrolment(keyring, now):     # db, KEK, and PK last: it ends Setup Mode
        efivars.write(payload.name, payload.guid, payload.attributes, payload.data)
    release(keyring, now)                       # back to Setup Mode
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from flashvisor.trust.certificates import to_der
from flashvisor.trust.signatures import ATTRIBUTES, CERT_X509, CERTIFICATE_HEADER, LIST_HEADER, TIME, VENDORS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from flashvisor.trust.certificates import SigningKey
    from flashvisor.trust.keyring import Keyring

CERT_PKCS7 = uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")  # EFI_CERT_TYPE_PKCS7_GUID
REVISION, TYPE_EFI_GUID = 0x0200, 0x0EF1
DER_LONG = 0x80  # in a length: the other bits count the bytes that hold it


@dataclass(frozen=True)
class Payload:
    """What is to be written into one UEFI variable. `data` begins with EFI_VARIABLE_AUTHENTICATION_2."""

    name: str
    guid: uuid.UUID
    attributes: int
    data: bytes


def signature_list(certificates_pem: Iterable[bytes], owner: uuid.UUID) -> bytes:
    """Returns certificates as EFI_SIGNATURE_LISTs, one for each: their sizes differ (UEFI 2.10, 32.4.1).

    Args:
        certificates_pem: X.509, PEM.
        owner: The SignatureOwner of each.
    """
    lists = []
    for pem in certificates_pem:
        entry = owner.bytes_le + to_der(pem)
        lists.append(LIST_HEADER.pack(CERT_X509.bytes_le, LIST_HEADER.size + len(entry), 0, len(entry)) + entry)
    return b"".join(lists)


def authenticated(name: str, content: bytes, signer: SigningKey, now: datetime) -> Payload:
    """Returns the signed write of a Secure Boot variable.

    Args:
        name: "PK", "KEK" or "db".
        content: EFI_SIGNATURE_LISTs; nothing deletes the variable.
        signer: RSA key and certificate. Firmware outside Setup Mode wants PK's, for db KEK's too.
        now: UTC. Must be later than that of the last write that the firmware took.

    Source: UEFI 2.10, 8.2.2: the signature covers name (UTF-16, no NUL), GUID, attributes, time, content.
    """
    guid = VENDORS[name]
    stamp = TIME.pack(now.year, now.month, now.day, now.hour, now.minute, now.second, 0, 0, 0)
    covered = name.encode("utf-16-le") + guid.bytes_le + struct.pack("<I", ATTRIBUTES) + stamp + content
    signature = _signed_data(covered, signer)
    length = CERTIFICATE_HEADER.size + len(signature)
    header = CERTIFICATE_HEADER.pack(length, REVISION, TYPE_EFI_GUID, CERT_PKCS7.bytes_le)
    return Payload(name=name, guid=guid, attributes=ATTRIBUTES, data=stamp + header + signature + content)


def contents(keyring: Keyring) -> dict[str, bytes]:
    """Returns what the owner's variables hold: PK and KEK the newest certificate, db those rotated out as well."""
    guid = keyring.owner_guid
    return {
        "db": signature_list(keyring.certificates("db"), guid),
        "KEK": signature_list([keyring.certificate("KEK")], guid),
        "PK": signature_list([keyring.certificate("PK")], guid),
    }


def enrolment(keyring: Keyring, now: datetime) -> tuple[Payload, ...]:
    """Returns the writes that make a server in Setup Mode the owner's, in their order: PK is last and ends it.

    All are signed by PK: on a server that has it already, they bring KEK and db up to date.
    """
    platform = keyring.signing("PK")
    return tuple(authenticated(name, content, platform, now) for name, content in contents(keyring).items())


def platform_key_update(keyring: Keyring, now: datetime) -> Payload | None:
    """Returns the new PK under the old PK's signature; None if PK was never rotated."""
    outgoing = keyring.outgoing_signing("PK")
    return authenticated("PK", contents(keyring)["PK"], outgoing, now) if outgoing else None


def release(keyring: Keyring, now: datetime) -> Payload:
    """Returns the write that takes PK out: the server is in Setup Mode again, and the next owner's to fill."""
    return authenticated("PK", b"", keyring.signing("PK"), now)


def _signed_data(covered: bytes, signer: SigningKey) -> bytes:
    if not isinstance(signer.key, rsa.RSAPrivateKey):
        raise TypeError("Secure Boot's keys are RSA keys")
    certificate = x509.load_pem_x509_certificate(signer.cert_pem)
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes]
    builder = pkcs7.PKCS7SignatureBuilder().set_data(covered).add_signer(certificate, signer.key, hashes.SHA256())
    return _inside(builder.sign(serialization.Encoding.DER, options))


def _inside(content_info: bytes) -> bytes:
    """Returns the SignedData of a ContentInfo: UEFI wants it bare, and edk2 looks for SHA-256's OID at its place.

    ContentInfo is SEQUENCE { OID signedData, [0] SignedData }: three headers, each of tag and length (X.690, 8.1).
    """
    start = _header(content_info, 0)
    start += 2 + content_info[start + 1]  # the OID is short
    return content_info[_header(content_info, start) :]


def _header(der: bytes, start: int) -> int:
    """Returns where an element's content starts."""
    first = der[start + 1]
    return start + 2 + (first & ~DER_LONG if first & DER_LONG else 0)
