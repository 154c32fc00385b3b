"""A TPM in memory, and the firmware that measures into it: what they say is signed by a real key.

Example::

    tpm = TpmSim()
    boot(tpm, expected, owner)          # what a start of that image leaves
    tpm.extend(4, b"another program")   # and what an intruder adds
    answer = tpm.quote(nonce, PCRS)
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from flashvisor.host import tpm
from flashvisor.model.bootentry import GLOBAL
from flashvisor.trust.measure import Event, replay
from flashvisor.trust.signatures import VENDORS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flashvisor.model.measurement import Measurements

NO_ACTION, SEPARATOR, IPL, VERSION = 0x3, 0x4, 0xD, 0x8
VARIABLE, PROGRAM, DRIVER, ACTION, BLOB = 0x80000001, 0x80000003, 0x80000004, 0x80000007, 0x80000008
MARK = bytes(4)
# The head of a log with SHA-1 and SHA-256 digests (PC Client Firmware Profile 1.06, 10.4.5.1)
HEAD_DATA = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHHHB", 0, 0, 2, 0, 2, 2, 0x4, 20, 0xB, 32, 0)
HEAD = struct.pack("<II20sI", 0, NO_ACTION, bytes(20), len(HEAD_DATA)) + HEAD_DATA


@dataclass
class TpmSim:
    """One TPM with one key. `attributes` are the key's."""

    events: list[Event] = field(default_factory=list)
    attributes: int = tpm.ATTRIBUTES
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def extend(self, pcr: int, data: bytes, kind: int = ACTION, digest: bytes | None = None) -> None:
        """Measures; the digest is that of the data unless given."""
        self.events.append(Event(pcr, kind, digest or hashlib.sha256(data).digest(), data))

    def log(self) -> bytes:
        """The firmware's event log."""
        return HEAD + b"".join(
            struct.pack("<IIIH20sH32sI", each.pcr, each.kind, 2, 0x4, bytes(20), 0xB, each.digest, len(each.data))
            + each.data
            for each in self.events
        )

    def quote(self, nonce: bytes, pcrs: Sequence[int]) -> tpm.Quote:
        """Signs what the PCRs hold."""
        held = replay(tuple(self.events))
        values = tuple(held.get(pcr, bytes(32)) for pcr in pcrs)
        composite = hashlib.sha256(b"".join(values)).digest()
        bits = sum(1 << pcr for pcr in pcrs).to_bytes(3, "little")
        quoted = (
            struct.pack(">IHH2sH", 0xFF544347, 0x8018, 2, b"me", len(nonce)) + nonce
            + struct.pack(">QIIBQ", 1234, 7, 0, 1, 5678)
            + struct.pack(">IHB", 1, 0xB, 3) + bits + struct.pack(">H", len(composite)) + composite
        )  # fmt: skip
        return tpm.Quote(quoted, self.sign(quoted), self.key(), values, self.log())

    def sign(self, quoted: bytes) -> bytes:
        """TPMT_SIGNATURE."""
        pair = decode_dss_signature(self.private.sign(quoted, ec.ECDSA(hashes.SHA256())))
        return struct.pack(">HH", 0x18, 0xB) + b"".join(struct.pack(">H", 32) + n.to_bytes(32, "big") for n in pair)

    def key(self) -> bytes:
        """TPMT_PUBLIC."""
        point = self.private.public_key().public_numbers()
        head = struct.pack(">HHIHHHHHH", 0x23, 0xB, self.attributes, 0, 0x10, 0x18, 0xB, 0x3, 0x10)
        return head + b"".join(struct.pack(">H", 32) + n.to_bytes(32, "big") for n in (point.x, point.y))


def variable(name: str, data: bytes) -> bytes:
    """UEFI_VARIABLE_DATA."""
    guid = VENDORS.get(name, GLOBAL)
    return guid.bytes_le + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def firmware(tpm: TpmSim, code: bytes = b"firmware 1.0") -> None:
    """What firmware measures of itself and its cards."""
    tpm.extend(0, b"1\0.\x000\0\0\0", VERSION)
    tpm.extend(0, b"where it lies", BLOB, hashlib.sha256(code).digest())
    tpm.extend(2, b"a card", DRIVER, hashlib.sha256(b"a card's driver").digest())


def secure_boot(tpm: TpmSim, keys: Mapping[str, bytes], *, on: bool = True) -> None:
    """What firmware measures of Secure Boot."""
    tpm.extend(7, variable("SecureBoot", bytes([on])), VARIABLE)
    for name, data in keys.items():
        tpm.extend(7, variable(name, data), VARIABLE)


def marks(tpm: TpmSim) -> None:
    """Ends the firmware's own part."""
    for pcr in range(8):
        tpm.extend(pcr, MARK, SEPARATOR)


def start(tpm: TpmSim, image: Measurements) -> None:
    """What firmware and stub measure of an image."""
    tpm.extend(4, b"its path", PROGRAM, bytes.fromhex(image.image))
    for section in image.sections:
        tpm.extend(11, section.name.encode() + b"\0", IPL)
        tpm.extend(11, b"its name", IPL, bytes.fromhex(section.sha256))


def boot(tpm: TpmSim, image: Measurements, keys: Mapping[str, bytes], *, on: bool = True) -> None:
    """A whole start, as it should be."""
    firmware(tpm)
    secure_boot(tpm, keys, on=on)
    tpm.extend(4, b"Calling EFI Application from Boot Option")
    marks(tpm)
    start(tpm, image)
