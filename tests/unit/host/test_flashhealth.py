"""What devices say of their wear, from a made-up /sys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.host import ata, nvme
from flashvisor.host.flashhealth import NO_WAY, SILENT, Health, health
from flashvisor.host.nvme import SmartLog

if TYPE_CHECKING:
    from pathlib import Path


def device(root: Path, name: str, bus: str, **files: str) -> None:
    place = root / "sys/devices" / bus
    place.mkdir(parents=True)
    for file, text in files.items():
        (place / file).write_text(f"{text}\n")
    (root / "sys/block" / name).mkdir(parents=True)
    (root / "sys/block" / name / "device").symlink_to(place)


@pytest.mark.parametrize(
    ("life", "spares", "used", "words"),
    [
        ("0x01 0x02", "0x01", 0.2, "between 10 and 20 % of its life is used up, spare blocks are normal"),
        ("0x0a 0x01", "0x02", 1.0, "between 90 and 100 % of its life is used up, 80 % of its spare blocks"),
        ("0x0b 0x01", "0x03", 1.0, "its life is used up: replace it, 90 %"),
        ("0x00 0x00", "0x01", None, "spare blocks are normal"),
        ("0x00 0x00", "0x00", None, "it does not say how worn it is"),
        ("what", "", None, "it does not say how worn it is"),
    ],
)
def test_emmc_tells(tmp_path: Path, life: str, spares: str, used: float | None, words: str) -> None:
    device(tmp_path, "mmcblk0", "mmc0:0001", type="MMC", life_time=life, pre_eol_info=spares)
    found = health("mmcblk0", tmp_path)
    assert (found.kind, found.used) == ("eMMC", used)
    assert found.words.startswith(words)


def test_cards_and_sticks_do_not_tell_and_that_is_said(tmp_path: Path) -> None:
    device(tmp_path, "mmcblk1", "mmc1:0002", type="SD")
    device(tmp_path, "sda", "pci0000:00/usb1/1-1/host0/0:0:0:0")
    assert health("mmcblk1", tmp_path) == Health("SD card", NO_WAY)
    assert health("sda", tmp_path) == Health("USB stick", NO_WAY)


def test_nvme_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device(tmp_path, "nvme0n1", "pci0000:00/nvme/nvme0")
    asked: list[Path] = []

    def answer(path: Path) -> SmartLog:
        asked.append(path)
        return SmartLog(used=1.02, spare=0.4, warnings=("it takes no more writes",))

    monkeypatch.setattr(nvme, "read_log", answer)
    words = "102% of its life is used up, 40% of its spare blocks are left, it takes no more writes"
    assert health("nvme0n1", tmp_path) == Health("NVMe", words, 1.02)
    assert asked == [tmp_path / "dev/nvme0n1"]


def test_nvme_without_an_account_of_spare_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device(tmp_path, "nvme0n1", "pci0000:00/nvme/nvme0")
    monkeypatch.setattr(nvme, "read_log", lambda _: SmartLog(used=0.0, spare=None, warnings=()))
    assert health("nvme0n1", tmp_path).words == "0% of its life is used up"


def test_nvme_that_does_not_answer_is_told_in_words(tmp_path: Path) -> None:
    device(tmp_path, "nvme0n1", "pci0000:00/nvme/nvme0")
    assert "cannot be asked for its SMART log: No such file" in health("nvme0n1", tmp_path).words


def test_a_device_that_is_gone(tmp_path: Path) -> None:
    assert health("sda", tmp_path).words == "the flash device is not there"
    assert health("", tmp_path).used is None


@pytest.mark.parametrize(("used", "words"), [(0.12, "12% of its life is used up"), (None, SILENT)])
def test_sata_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: float | None, words: str) -> None:
    device(tmp_path, "sdb", "pci0000:00/ata1/host1/1:0:0:0")
    monkeypatch.setattr(ata, "read_used", lambda path: used if path == tmp_path / "dev/sdb" else 9.9)
    assert health("sdb", tmp_path) == Health("SATA", words, used)


def test_sata_that_does_not_answer_is_told_in_words(tmp_path: Path) -> None:
    device(tmp_path, "sdb", "pci0000:00/ata1/host1/1:0:0:0")
    assert "cannot be asked for its statistics: No such file" in health("sdb", tmp_path).words
