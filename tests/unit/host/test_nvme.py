"""The SMART log of NVMe devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashvisor.errors import DeviceFaultyError
from flashvisor.host.nvme import SmartLog, parse_log, read_log

# Warnings, temperature (323 K), spare blocks in %, their threshold, used in %; by hand, in the specification's layout.
NEW = bytes.fromhex("00 43 01 64 0a 00").ljust(512, b"\0")
# Recorded: what the image's kernel got from QEMU 7.2's device with smart_critical_warning=5, up to its last 1.
QEMU = bytes.fromhex("054301" + "00" * 29 + "01" + "00" * 31 + "01").ljust(512, b"\0")


def test_a_new_device() -> None:
    assert parse_log(NEW) == SmartLog(used=0.0, spare=1.0, warnings=())


def test_a_device_that_counts_no_spare_blocks() -> None:
    found = parse_log(QEMU)
    assert (found.used, found.spare, len(found.warnings)) == (0.0, None, 2)


@pytest.mark.parametrize(("bit", "word"), [(0, "spare"), (2, "degraded"), (3, "no more writes")])
def test_warnings_in_words(bit: int, word: str) -> None:
    found = parse_log(bytes([1 << bit, 0, 0, 9, 10, 255]).ljust(512, b"\0"))
    assert (found.used, found.spare) == (2.55, 0.09)
    (words,) = found.warnings
    assert word in words


def test_what_is_no_nvme_device_cannot_be_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "gone", Path("/dev/null")):
        with pytest.raises(DeviceFaultyError, match="cannot be asked"):
            read_log(path)
