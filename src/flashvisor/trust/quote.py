"""A TPM's signed statement about its PCRs: checked, and taken apart. Pure. Admin side only.

Owns the signature and the form of what was signed. Does not own whose TPM it is: the caller compares `name_of(key)`
with the one it knows. No chain of certificates is checked: see docs/adr/0020. ::

    check(answer, nonce, (0, 2, 4, 7, 11))      # "000b…"

Source: TCG TPM 2.0 Library 1.59, part 2: TPMS_ATTEST, TPMT_PUBLIC, TPMT_SIGNATURE.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from flashvisor.errors import BadQuoteError
from flashvisor.host.tpm import ECC, ECDSA, NULL, P256, SHA256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashvisor.host.tpm import Quote

GENERATED, ATTEST_QUOTE = 0xFF544347, 0x8018  # TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE
# fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign: made in this TPM, never leaves it, signs only its words
REQUIRED = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18


def name_of(key: bytes) -> str:
    """Returns a public area's Name, hex: algorithm and digest (P1, 16)."""
    return (struct.pack(">H", SHA256) + hashlib.sha256(key).digest()).hex()


def check(answer: Quote, nonce: bytes, pcrs: Sequence[int]) -> str:
    """Makes sure that a TPM signed these PCRs' values just now; returns the name of its key (hex).

    Args:
        answer: The server's, unchecked.
        nonce: What was sent along, and must come back signed.
        pcrs: Those that were asked for, ascending.

    Raises:
        BadQuoteError: it is not so.
    """
    try:
        public = _public_key(_Reader(answer.key))
        signature = _signature(_Reader(answer.signature))
        public.verify(signature, answer.quoted, ec.ECDSA(hashes.SHA256()))
        _compare(answer, nonce, pcrs)
    except InvalidSignature as error:
        raise BadQuoteError("the TPM's statement is not signed by the key that came with it") from error
    except (struct.error, ValueError) as error:
        raise BadQuoteError("the TPM's statement is not what was asked for", evidence=str(error)) from error
    return name_of(answer.key)


class _Reader:
    """Takes big-endian numbers and sized buffers off a structure.

    All raise struct.error or ValueError at its end.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f">{form}", self._data, self._at)
        self._at += struct.calcsize(f">{form}")
        return int(value)

    def sized(self) -> bytes:
        return self.take(self.number("H"))

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise ValueError(f"a field ends at byte {self._at + size} of {len(self._data)}")
        self._at += size
        return self._data[self._at - size : self._at]

    def expect(self, form: str, value: int, what: str) -> None:
        found = self.number(form)
        if found != value:
            raise ValueError(f"{what}: expected {value:#x}, got {found:#x}")

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes too many")


def _public_key(reader: _Reader) -> ec.EllipticCurvePublicKey:
    """Reads TPMT_PUBLIC; only a key that signs what its TPM made, and nothing else, will do."""
    reader.expect("H", ECC, "the key's type")
    reader.expect("H", SHA256, "the key's name algorithm")
    attributes = reader.number("I")
    if attributes & REQUIRED != REQUIRED:
        raise ValueError(f"the key's attributes {attributes:#x} are not those of a restricted signing key")
    reader.sized()  # its policy: who may use it is the TPM's affair
    reader.expect("H", NULL, "the key's symmetric algorithm")
    reader.expect("H", ECDSA, "the key's scheme")
    reader.expect("H", SHA256, "the scheme's hash")
    reader.expect("H", P256, "the key's curve")
    reader.expect("H", NULL, "the key's KDF")
    x, y = (int.from_bytes(reader.sized(), "big") for _ in range(2))
    reader.end()
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _signature(reader: _Reader) -> bytes:
    """Reads TPMT_SIGNATURE; returns it as DER."""
    reader.expect("H", ECDSA, "the signature's scheme")
    reader.expect("H", SHA256, "the signature's hash")
    r, s = (int.from_bytes(reader.sized(), "big") for _ in range(2))
    reader.end()
    return encode_dss_signature(r, s)


def _compare(answer: Quote, nonce: bytes, pcrs: Sequence[int]) -> None:
    """Reads TPMS_ATTEST of a quote, and compares it with the question and with the values that came along."""
    reader = _Reader(answer.quoted)
    reader.expect("I", GENERATED, "the mark of a TPM's own structures")
    reader.expect("H", ATTEST_QUOTE, "the statement's type")
    reader.sized()  # the signer's qualified name, which depends on its hierarchy
    if reader.sized() != nonce:
        raise ValueError("it answers another question: the nonce is not ours")
    reader.take(8 + 4 + 4 + 1 + 8)  # clock, resets, restarts, safe, firmware version
    reader.expect("I", 1, "the number of banks")
    reader.expect("H", SHA256, "the bank")
    bits = int.from_bytes(reader.take(reader.number("B")), "little")
    if bits != sum(1 << pcr for pcr in pcrs):
        raise ValueError(f"it is about other PCRs than those asked for: {bits:#x}")
    composite = reader.sized()
    reader.end()
    sizes = [len(value) for value in answer.values]
    if sizes != [len(composite)] * len(pcrs) or hashlib.sha256(b"".join(answer.values)).digest() != composite:
        raise ValueError("the values that came along are not those that were signed")
