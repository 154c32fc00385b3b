"""The flash device: which partitions, where, of what type. Pure.

A device sold as 128 MB has 128,000,000 bytes or a little more. GPT takes the first MiB and the last 33 sectors; three
slots of 32 MiB each hold an image of up to 32,000,000 bytes beside FAT's own tables (about 81 KiB); the state ring
takes the rest, 25 MiB: 200 segments to spread wear over, and room for 33 site files of 256 KiB that do not compress.

Types: `factory` alone is an EFI System Partition. Firmware with empty NVRAM looks there for EFI/BOOT/BOOTX64.EFI, and
as it is also the first partition, a firmware that tries every FAT starts with it, too. `a` and `b` have a type of our
own: only boot entries that name them by GUID lead there (UEFI 2.10, 10.3.5.1: HD() knows no types), and no operating
system that sees the device takes them for its own. GUIDs are names hashed (RFC 9562, version 5), so that the same image
gives the same bytes::

    PARTITIONS["factory"].start == 1 << 20
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

SECTOR = 512  # bytes
ALIGNMENT = 1 << 20  # bytes; a multiple of every erase block in use
DEVICE_SIZE = 128_000_000  # bytes
SLOT_SIZE = 32 << 20  # bytes
GPT_SECTORS = 33  # header and 128 entries, once at each end
BOOT_FILE = "EFI/BOOT/BOOTX64.EFI"  # UEFI 2.10, 3.5.1.1

_NAMES = uuid.uuid5(uuid.NAMESPACE_URL, "urn:flashvisor:flash")
DISK_GUID = str(uuid.uuid5(_NAMES, "disk")).upper()
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"  # UEFI 2.10, 5.3.3
SLOT_TYPE = str(uuid.uuid5(_NAMES, "type slot")).upper()
STATE_TYPE = str(uuid.uuid5(_NAMES, "type state")).upper()


@dataclass(frozen=True)
class Region:
    """A partition: label (GPT PARTLABEL), start and size in bytes, type and own GUID."""

    label: str
    start: int
    size: int
    kind: str
    guid: str

    @property
    def end(self) -> int:
        """The byte after the last one."""
        return self.start + self.size


def regions() -> dict[str, Region]:
    """Returns the partitions in order: factory, a, b, state."""
    wanted = [("factory", SLOT_SIZE, ESP_TYPE), ("a", SLOT_SIZE, SLOT_TYPE), ("b", SLOT_SIZE, SLOT_TYPE)]
    last = (DEVICE_SIZE - GPT_SECTORS * SECTOR) // ALIGNMENT * ALIGNMENT
    state = last - ALIGNMENT - sum(size for _, size, _ in wanted)
    result, start = {}, ALIGNMENT
    for name, size, kind in [*wanted, ("state", state, STATE_TYPE)]:
        label = f"fv-{name}"
        result[name] = Region(label, start, size, kind, str(uuid.uuid5(_NAMES, label)).upper())
        start += size
    return result


PARTITIONS = regions()
SLOTS = ("factory", "a", "b")
STATE = PARTITIONS["state"]
