"""Writing a slot: only blocks that differ, checked by reading them back.

Owns the way of the bytes into one slot. Does not own which slot may be written (model/slot.py) nor the ledger of wear.
After a cut, the same call goes on where it stopped: blocks that are there already do not differ any more::

    with BlockFile(slot, write=True) as device, BlockFile(image) as new:
        written = write_slot(device, new)     # bytes, for the wear ledger
"""

from __future__ import annotations

from typing import Protocol

from flashvisor.errors import LayoutError, SlotReadBackError
from flashvisor.flash.device import FlashDevice

BLOCK = 4096  # bytes


class SlotDevice(FlashDevice, Protocol):
    """A FlashDevice whose medium can be read past the memory that caches it."""

    def forget_cache(self) -> None:
        """Makes the next read come from the medium."""


def differing(device: FlashDevice, image: FlashDevice) -> list[int]:
    """Returns the offsets (bytes) of the blocks of a slot that are not as in `image`.

    Raises:
        LayoutError: slot and image differ in size, or the size is not in whole blocks.
    """
    if device.size != image.size or device.size % BLOCK:
        raise LayoutError(
            f"the slot has {device.size} bytes, its new content {image.size}; expected the same, in blocks of {BLOCK}"
        )
    offsets = range(0, device.size, BLOCK)
    return [offset for offset in offsets if device.read(offset, BLOCK) != image.read(offset, BLOCK)]


def write_slot(device: SlotDevice, image: FlashDevice) -> int:
    """Makes a slot equal to `image`, and returns the bytes written once they would survive a cut of power.

    Args:
        device: The slot and nothing else. It must neither run nor be named by BootNext: until this returns, it is a
            mixture of two images.
        image: The slot's whole new content, FAT tables and all.

    Raises:
        LayoutError: slot and image differ in size. Nothing was written.
        SlotReadBackError: flash does not hold what was written.
    """
    offsets = differing(device, image)
    for offset in offsets:
        device.write(offset, image.read(offset, BLOCK))
    device.flush()
    device.forget_cache()
    if wrong := differing(device, image):
        raise SlotReadBackError(
            f"{len(wrong)} blocks of the slot are not what was written, the first at byte {wrong[0]}",
            evidence=f"{len(offsets)} blocks of {BLOCK} bytes were written",
        )
    return len(offsets) * BLOCK
