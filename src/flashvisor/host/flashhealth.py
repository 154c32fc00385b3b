"""What a flash device says of its own wear.

eMMC tells, and the kernel shows it in /sys (JESD84-B51, EXT_CSD 267 to 269); NVMe and SATA are asked (nvme.py, ata.py);
USB sticks and SD cards have no way to tell (docs/adr/0025).

Example::

    found = health("mmcblk0")
    found.words         # "between 10 and 20 % of its life is used up, spare blocks are normal"
    found.used          # 0.2: the upper end, or None if it does not tell
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flashvisor.errors import DeviceFaultyError
from flashvisor.host import ata, nvme

ROOT = Path("/")
PAST_LIFE = 11  # the estimate of a device that has exceeded its life
SPARES = {
    1: "spare blocks are normal",
    2: "80 % of its spare blocks are used up: replace it",
    3: "90 % of its spare blocks are used up: replace it now",
}
SILENT = "it does not say how worn it is"
NO_WAY = "it has no way to say how worn it is"


@dataclass(frozen=True)
class Health:
    """What kind of device it is, what it says in plain words, and which share of its life is used up (0 to 1)."""

    kind: str
    words: str
    used: float | None = None


def health(disk: str, root: Path = ROOT) -> Health:
    """Returns what a disk says of itself.

    Args:
        disk: The kernel's name ("sda").
        root: Where /sys stands (for tests).
    """
    device = root / "sys/block" / disk / "device"
    if not device.exists():
        return Health("", "the flash device is not there")
    if disk.startswith("mmcblk"):
        return _emmc(device) if _text(device / "type") == "MMC" else Health("SD card", NO_WAY)
    if disk.startswith("nvme"):
        return _nvme(root / "dev" / disk)
    if any(part.startswith("usb") for part in device.resolve().parts):
        return Health("USB stick", NO_WAY)
    return _sata(root / "dev" / disk)


def _emmc(device: Path) -> Health:
    estimates = [number for word in _text(device / "life_time").split() if (number := _number(word))]
    spares = SPARES.get(_number(_text(device / "pre_eol_info")), "")
    if not estimates:
        return Health("eMMC", spares or SILENT)
    worst = min(max(estimates), PAST_LIFE)
    if worst == PAST_LIFE:
        life, used = "its life is used up: replace it", 1.0
    else:
        life, used = f"between {(worst - 1) * 10} and {worst * 10} % of its life is used up", worst / 10
    return Health("eMMC", ", ".join(filter(None, [life, spares])), used)


def _nvme(device: Path) -> Health:
    try:
        log = nvme.read_log(device)
    except DeviceFaultyError as error:
        return Health("NVMe", error.what)
    spare = [] if log.spare is None else [f"{log.spare:.0%} of its spare blocks are left"]
    return Health("NVMe", ", ".join([f"{log.used:.0%} of its life is used up", *spare, *log.warnings]), log.used)


def _sata(device: Path) -> Health:
    try:
        used = ata.read_used(device)
    except DeviceFaultyError as error:
        return Health("SATA", error.what)
    return Health("SATA", SILENT if used is None else f"{used:.0%} of its life is used up", used)


def _number(word: str) -> int:
    try:
        return int(word, 16)
    except ValueError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
