"""sbsign and sbverify on a smallest PE file, with the owner's real keys."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import BadSignatureError, CommandFailedError
from flashvisor.host import sbsign
from flashvisor.host.pe import certificate_table
from flashvisor.image.measurements import authenticode
from flashvisor.trust.certificates import to_der

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


def sign(image: Path, output: Path, owner: Keyring) -> None:
    with owner.unlocked("db") as files:
        sbsign.sign(image, output, key=files.key, cert=files.cert)


def verify(image: Path, owner: Keyring) -> None:
    with owner.unlocked("db") as files:
        sbsign.verify(image, files.cert)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.efi"
    path.write_bytes(smallest_efi())
    return path


def test_the_owners_signature_holds_and_a_strangers_does_not(image: Path, keyring: Keyring, stranger: Keyring) -> None:
    signed = image.with_name("signed.efi")
    sign(image, signed, keyring)
    verify(signed, keyring)
    with pytest.raises(BadSignatureError, match=r"signed\.efi is not signed by"):
        verify(signed, stranger)


def test_a_changed_byte_breaks_the_signature(image: Path, keyring: Keyring) -> None:
    signed = image.with_name("signed.efi")
    sign(image, signed, keyring)
    data = bytearray(signed.read_bytes())
    data[HEADERS] ^= 1
    signed.write_bytes(data)
    with pytest.raises(BadSignatureError):
        verify(signed, keyring)


def test_an_unsigned_image(image: Path, keyring: Keyring) -> None:
    with pytest.raises(BadSignatureError):
        verify(image, keyring)


def test_what_is_no_image_is_the_tools_failure(tmp_path: Path, keyring: Keyring) -> None:
    text = tmp_path / "text.efi"
    text.write_text("not a PE file")
    with pytest.raises(CommandFailedError):
        sign(text, tmp_path / "out.efi", keyring)
    assert not (tmp_path / "out.efi").exists()
    with pytest.raises(CommandFailedError):
        verify(text, keyring)


def test_signatures_are_told_added_and_taken_off(
    image: Path, keyring: Keyring, stranger: Keyring, tmp_path: Path
) -> None:
    assert sbsign.signatures(image) == []
    once, twice = tmp_path / "once.efi", tmp_path / "twice.efi"
    sign(image, once, stranger)
    sign(once, twice, keyring)
    assert sbsign.signatures(twice) == ["/O=Stranger Ltd/CN=flashvisor db", "/O=Owner Ltd/CN=flashvisor db"]
    verify(twice, keyring)
    verify(twice, stranger)
    sbsign.strip(twice)
    assert sbsign.signatures(twice) == []


def test_version() -> None:
    assert sbsign.version()[0].isdigit()


def test_the_signature_stands_in_the_certificate_table(image: Path, keyring: Keyring, tmp_path: Path) -> None:
    assert certificate_table(image) == b""
    sign(image, tmp_path / "signed.efi", keyring)
    assert to_der(keyring.certificate("db")) in certificate_table(tmp_path / "signed.efi")


@pytest.mark.parametrize("odd", [b"", b"tail"])
def test_our_authenticode_hash_is_the_one_that_sbsign_signs(image: Path, keyring: Keyring, odd: bytes) -> None:
    image.write_bytes(smallest_efi() + odd)
    signed = image.with_name("signed.efi")
    sign(image, signed, keyring)
    digest = bytes.fromhex(authenticode(signed.read_bytes(), signed.name))
    assert digest in certificate_table(signed)
    changed = bytearray(signed.read_bytes())
    changed[HEADERS] ^= 1
    assert bytes.fromhex(authenticode(bytes(changed), "changed")) != digest
