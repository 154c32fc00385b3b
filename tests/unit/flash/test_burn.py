"""Which devices are refused, and with which words; tests/tools/test_burn.py burns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flashvisor.errors import DeviceError, ImageTooLargeError, UnreadableFileError
from flashvisor.flash.burn import burn_work, check_target, make_flash_image
from flashvisor.host.block import DiskFacts
from flashvisor.model.slot import IMAGE_LIMIT

STICK = DiskFacts(
    path=Path("/dev/sdb"), name="sdb", is_block=True, whole=True, size=128_000_000,
    removable=True, serial="S1", model="Flash Stick", in_use=(),
)  # fmt: skip
NEED = 128_000_000


def test_a_removable_device_is_taken() -> None:
    check_target(STICK, NEED, None)
    check_target(STICK, NEED, "S1")


def test_a_device_that_is_not_removable_is_taken_by_its_serial_number() -> None:
    check_target(replace(STICK, removable=False), NEED, "S1")


@pytest.mark.parametrize(
    ("disk", "serial", "words"),
    [
        (replace(STICK, is_block=False), None, "not a block device"),
        (replace(STICK, whole=False), None, "partition"),
        (replace(STICK, in_use=("/dev/sdb1 is mounted on /mnt",)), None, "/dev/sdb1 is mounted on /mnt"),
        (replace(STICK, removable=False), None, "--serial S1"),
        (replace(STICK, removable=False, serial=""), None, "no serial number"),
        (STICK, "S2", "expected 'S2'"),
        (replace(STICK, size=NEED - 1), None, f"it has {NEED - 1} bytes, {NEED} are needed"),
        (replace(STICK, size=0), None, "too small"),
    ],
)
def test_what_is_not_meant_is_refused(disk: DiskFacts, serial: str | None, words: str) -> None:
    with pytest.raises(DeviceError) as caught:
        check_target(disk, NEED, serial)
    assert words in str(caught.value)


def test_only_a_flash_image_is_burnt(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        burn_work(tmp_path / "nothing")
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        burn_work(tmp_path)
    (tmp_path / "short").write_bytes(b"MZ")
    with pytest.raises(UnreadableFileError, match="no partition table"):
        burn_work(tmp_path / "short")


def test_an_image_that_outgrew_its_slot_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    efi = tmp_path / "flashvisor.efi"
    with pytest.raises(UnreadableFileError):
        make_flash_image(efi, tmp_path / "out/flash.img", [])
    efi.touch()
    with efi.open("r+b") as file:
        file.truncate(IMAGE_LIMIT)
    with pytest.raises(ImageTooLargeError, match=f"fewer than {IMAGE_LIMIT}"):
        make_flash_image(efi, tmp_path / "out/flash.img", [])
    assert not (tmp_path / "out").exists()
