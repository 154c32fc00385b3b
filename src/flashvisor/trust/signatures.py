"""Certificates inside Secure Boot's variables. Pure: bytes in, certificates or an error out; ships in flash.

Source: UEFI 2.10, 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2) and 32.4.1 (EFI_SIGNATURE_LIST). The writing side, with keys,
is secureboot.py::

    certificates(payload)       # DER, of all X.509 lists behind the signature
    certificates_in_force(data) # of all X.509 lists in a variable that was read
"""

from __future__ import annotations

import struct
import uuid

from flashvisor.errors import BadRequestError
from flashvisor.model.bootentry import GLOBAL

DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")  # EFI_IMAGE_SECURITY_DATABASE_GUID: db, dbx
VENDORS = {"PK": GLOBAL, "KEK": GLOBAL, "db": DATABASE}
CERT_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")  # EFI_CERT_X509_GUID
# NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS, TIME_BASED_AUTHENTICATED_WRITE_ACCESS
ATTRIBUTES = 0x1 | 0x2 | 0x4 | 0x20
TIME = struct.Struct("<HBBBBBxIhBx")  # EFI_TIME: year to second, nanosecond, time zone, daylight
CERTIFICATE_HEADER = struct.Struct("<IHH16s")  # WIN_CERTIFICATE_UEFI_GUID: length, revision, type, GUID
LIST_HEADER = struct.Struct("<16sIII")  # type, list size, header size, signature size
OWNER = 16  # bytes before each signature: SignatureOwner


def certificates(payload: bytes) -> tuple[bytes, ...]:
    """Returns the X.509 certificates (DER) that a signed variable write brings.

    Args:
        payload: EFI_VARIABLE_AUTHENTICATION_2, then EFI_SIGNATURE_LISTs.

    Raises:
        BadRequestError: it is not of that form.
    """
    try:
        length, *_ = CERTIFICATE_HEADER.unpack_from(payload, TIME.size)
        return tuple(_lists(payload[TIME.size + length :]))
    except (struct.error, ValueError) as error:
        raise BadRequestError("a variable's content is not signed signature lists", evidence=str(error)) from error


def certificates_in_force(content: bytes) -> tuple[bytes, ...]:
    """Returns the X.509 certificates (DER) in a variable as firmware gives it: signature lists without a signature.

    Raises:
        BadRequestError: it is not of that form.
    """
    try:
        return tuple(_lists(content))
    except (struct.error, ValueError) as error:
        raise BadRequestError("a variable's content is not signature lists", evidence=str(error)) from error


def _lists(content: bytes) -> list[bytes]:
    found = []
    while content:
        kind, size, skipped, each = LIST_HEADER.unpack_from(content)
        body = content[LIST_HEADER.size + skipped : size]
        if not LIST_HEADER.size <= size <= len(content) or each <= OWNER or len(body) % each:
            raise ValueError(f"a list of {size} bytes with entries of {each} stands in {len(content)} bytes")
        if kind == CERT_X509.bytes_le:
            found += [body[start + OWNER : start + each] for start in range(0, len(body), each)]
        content = content[size:]
    return found
