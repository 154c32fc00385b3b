"""What a file is, by its content: every format under a name that lies."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import UnknownFormatError, UnreadableFileError
from flashvisor.transfer.formats import Kind, detect
from flashvisor.transfer.partitions import described_size
from flashvisor.transfer.region import Region
from sim.appliances import virtualbox, vmware, write_tar, xenserver

if TYPE_CHECKING:
    from pathlib import Path

SECTOR = 512


def mbr(*partitions: tuple[int, int, int]) -> bytes:
    """A sector with partitions: type, first sector, sectors."""
    sector = bytearray(SECTOR)
    for index, (kind, start, length) in enumerate(partitions):
        struct.pack_into("<4xB3xII", sector, 446 + 16 * index, kind, start, length)
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def gpt(last: int, sector: int = SECTOR) -> bytes:
    header = b"EFI PART" + bytes(24) + struct.pack("<Q", last)
    return mbr((0xEE, 1, 0xFFFFFFFF)).ljust(sector, b"\0") + header.ljust(sector, b"\0")


CONTENTS = {
    Kind.QCOW2: b"QFI\xfb\0\0\0\x03",
    Kind.VMDK: b"KDMV\x01\0\0\0",
    Kind.VMDK_TEXT: b"# Disk DescriptorFile\nversion=1\n",
    Kind.VHDX: b"vhdxfile",
    Kind.VDI: b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe",
    Kind.GZIP: b"\x1f\x8b\x08",
    Kind.XZ: b"\xfd7zXZ\0",
    Kind.ZSTD: b"\x28\xb5\x2f\xfd",
    Kind.VHD: mbr() + bytes(2 * SECTOR) + b"conectix".ljust(SECTOR, b"\0"),
    Kind.RAW: mbr() + bytes(SECTOR),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_format_is_known_by_its_content(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "disk.txt"
    path.write_bytes(CONTENTS[kind])
    assert detect(Region.of(path)) is kind


@pytest.mark.parametrize("text", [vmware(["a", "b"], 8 << 20), virtualbox(["a", "b"], 1), xenserver(["a", "b"], 1)])
def test_descriptors_of_all_three(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"\xef\xbb\xbf" + text)
    assert detect(Region.of(path)) is Kind.OVF


def test_an_archive_whatever_its_name(tmp_path: Path) -> None:
    assert detect(Region.of(write_tar(tmp_path / "x.vmdk", {"a.ovf": b"<Envelope/>"}))) is Kind.OVA


def test_a_disk_of_large_sectors(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(4096) + gpt(7, 4096)[4096:])
    assert detect(Region.of(path)) is Kind.RAW


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"PK\x03\x04", "ZIP"),
        (b"BZh9", "bzip2"),
        (b"COWD", "ESX"),
        (bytes(0x8001) + b"CD001", "CD or DVD"),
        (b"", "empty"),
        (bytes(70_000), "partition table"),
        (b"<html>", "neither"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(content)
    with pytest.raises(UnknownFormatError, match=word):
        detect(Region.of(path))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe"):
        with pytest.raises(UnreadableFileError):
            Region.of(path)


def test_how_large_a_disk_is_by_its_partition_table() -> None:
    assert described_size(mbr((0x83, 2048, 4096)).ljust(8192, b"\0")) == (2048 + 4096) * SECTOR
    assert described_size(mbr((0x83, 1, 9), (0, 99, 99), (0xEE, 1, 0xFFFFFFFF)).ljust(8192, b"\0")) == 10 * SECTOR
    assert described_size(gpt(99).ljust(8192, b"\0")) == 100 * SECTOR
    assert described_size(gpt(99, 4096)) == 100 * 4096
    assert described_size(bytes(8192)) is None
