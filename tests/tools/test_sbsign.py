"""sbsign and sbverify on a smallest PE file, with the owner's real keys."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import BadSignatureError, CommandFailedError
from flashvisor.host import sbsign

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.tools

HEADERS = 0x200  # bytes
TEXT = 0x200  # bytes


def smallest_efi() -> bytes:
    """A PE32+ EFI application with one section (Microsoft PE Format; code: mov eax, 0; ret)."""
    dos = b"MZ" + bytes(0x3A) + struct.pack("<I", 0x40)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 240, 0x22E)
    optional = struct.pack(
        "<HBBIIIIIQIIHHHHHHIIIIHHQQQQII",
        0x20B, 0, 0, TEXT, 0, 0, 0x1000, 0x1000, 0, 0x1000, 0x200, 0, 0, 0, 0, 0, 0, 0, 0x2000, HEADERS, 0,
        10, 0, 0, 0, 0, 0, 0, 16,
    )  # fmt: skip
    section = struct.pack("<8sIIIIIIHHI", b".text", TEXT, 0x1000, TEXT, HEADERS, 0, 0, 0, 0, 0x60000020)
    headers = dos + coff + optional + bytes(16 * 8) + section
    return headers.ljust(HEADERS, b"\0") + b"\xb8\0\0\0\0\xc3".ljust(TEXT, b"\x90")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.efi"
    path.write_bytes(smallest_efi())
    return path


def test_the_owners_signature_holds_and_a_strangers_does_not(image: Path, keyring: Keyring, stranger: Keyring) -> None:
    signed = image.with_name("signed.efi")
    sbsign.sign(image, signed, key=keyring.db.key, cert=keyring.db.cert)
    sbsign.verify(signed, keyring.db.cert)
    with pytest.raises(BadSignatureError, match=r"signed\.efi is not signed by"):
        sbsign.verify(signed, stranger.db.cert)


def test_a_changed_byte_breaks_the_signature(image: Path, keyring: Keyring) -> None:
    signed = image.with_name("signed.efi")
    sbsign.sign(image, signed, key=keyring.db.key, cert=keyring.db.cert)
    data = bytearray(signed.read_bytes())
    data[HEADERS] ^= 1
    signed.write_bytes(data)
    with pytest.raises(BadSignatureError):
        sbsign.verify(signed, keyring.db.cert)


def test_an_unsigned_image(image: Path, keyring: Keyring) -> None:
    with pytest.raises(BadSignatureError):
        sbsign.verify(image, keyring.db.cert)


def test_what_is_no_image_is_the_tools_failure(tmp_path: Path, keyring: Keyring) -> None:
    text = tmp_path / "text.efi"
    text.write_text("not a PE file")
    with pytest.raises(CommandFailedError):
        sbsign.sign(text, tmp_path / "out.efi", key=keyring.db.key, cert=keyring.db.cert)
    assert not (tmp_path / "out.efi").exists()
    with pytest.raises(CommandFailedError):
        sbsign.verify(text, keyring.db.cert)


def test_version() -> None:
    assert sbsign.version()[0].isdigit()
