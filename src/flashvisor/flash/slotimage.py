"""What a slot holds: a FAT file system with one file, byte for byte the same wherever it is made (ADR 0017).

Owns how an image becomes a slot's content. Does not own where slots lie (layout.py), nor writing them (update.py)::

    with slot_content(Path("flashvisor.efi"), Slot.B, scratch) as content:
        digest = content_digest(content)
        write_slot(device, content)
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flashvisor.errors import ImageTooLargeError
from flashvisor.flash.layout import ALIGNMENT, BOOT_FILE, DEVICE_SIZE, PARTITIONS, Region
from flashvisor.host import mtools
from flashvisor.host.block import BlockFile
from flashvisor.model.slot import IMAGE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.flash.device import FlashDevice
    from flashvisor.model.slot import Slot


def make_slot(disk: Path, region: Region, efi: Path | None) -> None:
    """Makes a slot's file system in a disk image, at its place: FAT's boot sector says where it lies.

    Args:
        disk: A file; it is made longer if need be.
        region: The slot.
        efi: The image; None leaves the file system empty.

    Raises:
        ImageTooLargeError: the image does not fit.
        ToolMissingError: mtools are not installed.
    """
    if efi is not None and efi.stat().st_size >= IMAGE_LIMIT:
        raise ImageTooLargeError(f"{efi} has {efi.stat().st_size} bytes; expected fewer than {IMAGE_LIMIT}")
    files = {} if efi is None else {BOOT_FILE: efi}
    mtools.make_fat(disk, offset=region.start, size=region.size, label=region.label, files=files)


@contextmanager
def slot_content(efi: Path, slot: Slot, scratch: Path) -> Iterator[BlockFile]:
    """Yields the whole content of a slot that holds an image.

    Args:
        efi: The image.
        slot: It depends on the slot in a few bytes: label, serial number and place.
        scratch: A directory with room for a slot; a hole stands for the rest of the device.

    Raises:
        ImageTooLargeError: the image does not fit.
    """
    region, disk = PARTITIONS[slot], scratch / f"slot-{slot}.img"
    try:
        with disk.open("wb") as file:
            file.truncate(DEVICE_SIZE)  # mformat puts the size of what it writes to into the boot sector
        make_slot(disk, region, efi)
        with BlockFile(disk, offset=region.start, length=region.size) as content:
            yield content
    finally:
        disk.unlink(missing_ok=True)


def region_digest(disk: Path, region: Region) -> str:
    """Returns the SHA-256 of a slot in a disk image."""
    with BlockFile(disk, offset=region.start, length=region.size) as content:
        return content_digest(content)


def content_digest(content: FlashDevice) -> str:
    """Returns the SHA-256 of a whole slot, as the state ring keeps it."""
    digest = hashlib.sha256()
    for start in range(0, content.size, ALIGNMENT):
        digest.update(content.read(start, min(ALIGNMENT, content.size - start)))
    return digest.hexdigest()
