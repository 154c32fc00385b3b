"""What will be measured of an image: Authenticode's hash against one made by hand, sections in the stub's order."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import StrangeImageError, UnreadableFileError
from flashvisor.image.measurements import authenticode, measure
from flashvisor.model.measurement import decode, encode

if TYPE_CHECKING:
    from pathlib import Path

HEADERS, START, OPTIONAL = 0x400, 0x40, 240  # bytes
CHECKSUM, CERTIFICATES = START + 24 + 64, START + 24 + 144  # bytes into the file
TABLE = START + 24 + OPTIONAL


def executable(
    sections: dict[str, bytes], signatures: bytes = b"", *, directories: int = 16, tail: bytes = b""
) -> bytes:
    """A PE32+ file; sections stand in the file in the reverse of their table's order."""
    head = bytearray(HEADERS)
    head[:2], head[0x3C:0x40] = b"MZ", struct.pack("<I", START)
    struct.pack_into("<4sHHIIIHH", head, START, b"PE\0\0", 0x8664, len(sections), 0, 0, 0, OPTIONAL, 0x22E)
    head[START + 24 : START + 26] = b"\x0b\x02"
    struct.pack_into("<I", head, START + 24 + 60, HEADERS)
    struct.pack_into("<I", head, CHECKSUM, 0xDEADBEEF)
    struct.pack_into("<I", head, START + 24 + 108, directories)
    body = b""
    for index, (name, data) in reversed(list(enumerate(sections.items()))):
        raw = data + bytes(-len(data) % 16)
        struct.pack_into(
            "<8sIIII", head, TABLE + 40 * index, name.encode(), len(data), 0x1000, len(raw), HEADERS + len(body)
        )
        body += raw
    whole = bytes(head) + body + tail
    if signatures:
        struct.pack_into("<II", head, CERTIFICATES, len(whole), len(signatures))
        whole = bytes(head) + body + tail + signatures
    return whole


def by_hand(data: bytes, end: int) -> str:
    return hashlib.sha256(
        data[:CHECKSUM] + data[CHECKSUM + 4 : CERTIFICATES] + data[CERTIFICATES + 8 : end]
    ).hexdigest()


KERNEL = executable({".text": b"kernel"})


def test_all_counts_but_checksum_and_signatures() -> None:
    plain = executable({".text": b"code", ".data": b"more"}, tail=b"odd")
    assert authenticode(plain, "x") == by_hand(plain, len(plain))
    signed = executable({".text": b"code", ".data": b"more"}, b"signed!!", tail=b"odd")
    assert authenticode(signed, "x") == authenticode(plain, "x")
    for where in (0, 2, START + 30, CHECKSUM - 1, CHECKSUM + 4, CERTIFICATES + 8, HEADERS, len(plain) - 1):
        changed = bytearray(plain)
        changed[where] ^= 1
        if changed[:2] == b"MZ":
            assert authenticode(bytes(changed), "x") != authenticode(plain, "x"), where
    changed = bytearray(plain)
    changed[CHECKSUM] ^= 1
    assert authenticode(bytes(changed), "x") == authenticode(plain, "x")


def test_an_executable_without_a_directory_of_certificates() -> None:
    data = executable({".text": b"code"}, directories=4)
    assert authenticode(data, "x") == hashlib.sha256(data[:CHECKSUM] + data[CHECKSUM + 4 :]).hexdigest()


@pytest.mark.parametrize(
    "data", [b"", b"MZ", KERNEL[:100], KERNEL[: HEADERS + 8], KERNEL.replace(b"\x0b\x02", b"\x0b\x01")]
)
def test_what_is_no_whole_executable(data: bytes) -> None:
    with pytest.raises(StrangeImageError, match="x is not a whole 64-bit executable"):
        authenticode(data, "x")


def test_sections_stand_in_the_stubs_order_and_without_padding(tmp_path: Path) -> None:
    efi = tmp_path / "a.efi"
    efi.write_bytes(
        executable({".text": b"stub", ".cmdline": b"quiet", ".initrd": b"root", ".linux": KERNEL}, b"signed!!")
    )
    made = measure(efi, "flashvisor 1.0")
    assert [(one.name, one.sha256) for one in made.sections] == [
        (".linux", hashlib.sha256(KERNEL).hexdigest()),
        (".cmdline", hashlib.sha256(b"quiet").hexdigest()),
        (".initrd", hashlib.sha256(b"root").hexdigest()),
    ]
    assert made.image == authenticode(efi.read_bytes(), "image")
    assert decode(encode(made), "x") == made


@pytest.mark.parametrize("sections", [{".text": b"stub"}, {".linux": KERNEL, ".profile": b"ID=x"}])
def test_an_image_that_we_do_not_make(tmp_path: Path, sections: dict[str, bytes]) -> None:
    efi = tmp_path / "a.efi"
    efi.write_bytes(executable(sections))
    with pytest.raises(StrangeImageError, match=r"expected the sections \.linux, \.osrel"):
        measure(efi, "x")


@pytest.mark.parametrize("data", [b"", b"{}", b'{"title": 1}', b"\xff"])
def test_a_file_that_holds_no_measurements(data: bytes) -> None:
    with pytest.raises(UnreadableFileError, match="x does not hold an image's measurements"):
        decode(data, "x")
