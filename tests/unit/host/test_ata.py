"""A SATA device's account of its wear."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from flashvisor.errors import DeviceFaultyError
from flashvisor.host import ata


def page(used: int, *, flags: int = 0xC0, number: int = 7) -> bytes:
    """A page by hand, in the layout of ACS-3, A.5.7: revision, number, and the indicator with its flags on top."""
    return (struct.pack("<HB5x", 1, number) + struct.pack("<Q", flags << 56 | used)).ljust(512, b"\0")


@pytest.mark.parametrize(("used", "share"), [(0, 0.0), (12, 0.12), (255, 2.55)])
def test_the_share_that_is_used_up(used: int, share: float) -> None:
    assert ata.parse_page(page(used)) == share


@pytest.mark.parametrize("wrong", [page(12, flags=0x80), page(12, flags=0x40), page(12, number=1), bytes(512)])
def test_what_is_not_supported_or_not_valid_says_nothing(wrong: bytes) -> None:
    assert ata.parse_page(wrong) is None


def test_the_command_names_the_log_and_its_page() -> None:
    command = ata._command()
    assert len(command) == 16
    assert (command[0], command[14]) == (0x85, 0x2F)
    assert (command[6], command[8], command[10]) == (1, 0x04, 0x07)  # one page; the log in LBA 7:0, its page in 15:8


def test_the_header_is_as_long_as_the_kernels() -> None:
    assert ata._HEADER.size == 88  # sizeof(struct sg_io_hdr) on x86-64


def test_what_is_no_disk_cannot_be_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "gone", Path("/dev/null")):
        with pytest.raises(DeviceFaultyError, match="cannot be asked"):
            ata.read_used(path)
