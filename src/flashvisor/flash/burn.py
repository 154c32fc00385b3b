"""flash.img, and how it comes onto a device.

Owns making the image (same inputs, same bytes) and burning it: refuse what is not meant, write, read back, compare.
Where the partitions lie stands in layout.py::

    make_flash_image(Path("flashvisor.efi"), Path("flash.img"), [(RecordKind.IDENTITY, payload)])
    burn(Path("flash.img"), Path("/dev/sdb"), serial=None, on_bytes=advance)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import DeviceError, DeviceFaultyError, ImageTooLargeError, UnreadableFileError
from flashvisor.flash.bmap import write_map
from flashvisor.flash.layout import (
    ALIGNMENT,
    DEVICE_SIZE,
    DISK_GUID,
    GPT_SECTORS,
    PARTITIONS,
    SECTOR,
    SLOTS,
    STATE,
    Region,
)
from flashvisor.flash.ring import Ring
from flashvisor.flash.slotimage import make_slot, region_digest
from flashvisor.host import sgdisk
from flashvisor.host.block import BlockFile, DiskFacts, disk_facts
from flashvisor.host.files import need_space, replacing, sha256_file, write_atomic
from flashvisor.model.record import SlotNote, Slots, encode, kind_of
from flashvisor.model.size import show_size
from flashvisor.model.slot import IMAGE_LIMIT, Slot, SlotState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from flashvisor.flash.device import FlashDevice

EMPTY_SLOTS = ("b",)
SHIPPED = Slot.A  # committed from the start: factory hands over to it
CAUSE = "burn"  # what the seeded records are booked to
IMAGE_MODE = 0o600  # the image holds the server's private key
GPT_SIGNATURE = b"EFI PART"  # UEFI 2.10, 5.3.2


@dataclass(frozen=True)
class Burnt:
    """What was written: the device, bytes, and the SHA-256 of what was read back."""

    device: Path
    size: int
    sha256: str


def make_flash_image(efi: Path, output: Path, records: Sequence[tuple[int, bytes]], version: str = "") -> None:
    """Writes flash.img and flash.img.bmap: `factory` and `a` hold the image, `b` is empty, the state ring is seeded.

    Args:
        efi: The signed image, smaller than IMAGE_LIMIT.
        output: Replaced as a whole; the map is called the same with ".bmap" added.
        records: RecordKind and payload of what the state ring begins with, in order; that `a` is committed comes last.
        version: Of the image's release.

    Raises:
        UnreadableFileError: the image is not there.
        ImageTooLargeError: the image is too large for a slot.
        RingFullError: the records do not fit.
        NoSpaceError: the disk is too full.
        ToolMissingError: sgdisk or mtools are not installed.
    """
    if not efi.is_file():
        raise UnreadableFileError(f"{efi} is not a file", next_step="`flashvisor build` makes flashvisor.efi.")
    size = efi.stat().st_size
    if size >= IMAGE_LIMIT:
        raise ImageTooLargeError(f"{efi} has {size} bytes; expected fewer than {IMAGE_LIMIT}")
    output.parent.mkdir(parents=True, exist_ok=True)
    need_space(output.parent, DEVICE_SIZE, "the flash image")
    with replacing(output, mode=IMAGE_MODE, size=DEVICE_SIZE) as half:
        sgdisk.make_table(half, DISK_GUID, [_row(region) for region in PARTITIONS.values()])
        for name in SLOTS:
            region = PARTITIONS[name]
            make_slot(half, region, None if name in EMPTY_SLOTS else efi)
        digest = region_digest(half, PARTITIONS[SHIPPED])
        image = sha256_file(efi)
        note = SlotNote(state=SlotState.COMMITTED, sha256=digest, image=image, version=version)
        slots = Slots(when=0.0, committed=SHIPPED, a=note, factory=image)
        with BlockFile(half, write=True, offset=STATE.start, length=STATE.size) as device:
            ring = Ring.open(device)
            for kind, payload in [*records, (kind_of(slots), encode(slots))]:
                ring.append(kind, payload, cause=CAUSE)
        with BlockFile(half) as whole:
            text = write_map(whole.size, whole.read)
    write_atomic(output.with_name(f"{output.name}.bmap"), text.encode())


def _row(region: Region) -> sgdisk.Partition:
    return sgdisk.Partition(region.label, region.start, region.size, region.kind, region.guid)


def burn_work(image: Path) -> int:
    """Returns how many bytes `burn` will tell `on_bytes` of in all: each is written, and read back.

    Raises:
        UnreadableFileError: it is no flash image.
    """
    try:
        size = image.stat().st_size
        with image.open("rb") as file:
            file.seek(SECTOR)
            signature = file.read(len(GPT_SIGNATURE))
    except OSError as error:
        raise UnreadableFileError(f"{image} cannot be read: {error.strerror}") from error
    if signature != GPT_SIGNATURE:
        raise UnreadableFileError(
            f"{image} is not a flash image: it has no partition table", next_step="`flashvisor build` makes flash.img."
        )
    return 2 * size


def check_target(disk: DiskFacts, need: int, serial: str | None) -> None:
    """Refuses a device that is not meant. Pure.

    Args:
        disk: What is known of it.
        need: Bytes to be written.
        serial: The serial number that the user gave, if any; a device that does not call itself removable needs it.

    Raises:
        DeviceError: it is no block device, a partition, in use, not removable and not named by its serial number,
            another than the one named, or too small.
    """
    name = f"{disk.path} ({', '.join(part for part in (disk.model, show_size(disk.size)) if part)})"
    if not disk.is_block:
        raise DeviceError(f"{disk.path} is not a block device", next_step="`lsblk -d -o PATH,SIZE,MODEL` lists them.")
    if not disk.whole:
        raise DeviceError(f"{name} is a partition; flashvisor takes whole devices", next_step="Name the whole device.")
    if disk.in_use:
        raise DeviceError(
            f"{name} is in use", evidence="\n".join(disk.in_use), next_step="Unmount it, if it is the right device."
        )
    if serial is not None and serial != disk.serial:
        raise DeviceError(
            f"{name} has the serial number '{disk.serial}'; expected '{serial}'",
            next_step="Check which device is meant.",
        )
    if not disk.removable and serial is None:
        hint = f"--serial {disk.serial}" if disk.serial else "another port or stick: this one has no serial number"
        raise DeviceError(
            f"{name} does not say that it is removable: it may be a disk of this machine",
            next_step=f"If it is the right device, call again with {hint}.",
        )
    if disk.size < need:
        raise DeviceError(f"{name} is too small: it has {disk.size} bytes, {need} are needed")


def burn(
    image: Path,
    device: Path,
    serial: str | None,
    on_bytes: Callable[[int], None],
    *,
    facts: Callable[[Path], DiskFacts] = disk_facts,
) -> Burnt:
    """Writes a flash image to a device, reads it back and compares.

    A device that lost power in between is empty, not half a flashvisor (see `write_device`).

    Args:
        image: flash.img.
        device: The whole device; everything on it is lost.
        serial: See `check_target`.
        on_bytes: Hears of bytes written or compared, `burn_work(image)` in all.
        facts: What tells about the device.

    Raises:
        UnreadableFileError: the image is none.
        DeviceError: the device is not meant. Nothing was written.
        DeviceFaultyError: it failed, or gave back other bytes than were written.
    """
    need = burn_work(image) // 2
    check_target(facts(device), need, serial)
    with BlockFile(image) as source, BlockFile(device, write=True) as target:
        write_device(source, target, on_bytes)
        target.forget_cache()
        digest = hashlib.sha256()
        for start in range(0, need, ALIGNMENT):
            data = target.read(start, min(ALIGNMENT, need - start))
            _compare(device, start, source.read(start, len(data)), data)
            digest.update(data)
            on_bytes(len(data))
    return Burnt(device, need, digest.hexdigest())


def write_device(source: FlashDevice, target: FlashDevice, on_bytes: Callable[[int], None]) -> None:
    """Writes all of an image to a device, so that power may go at any moment: firmware finds all of it, or no table.

    Both copies of the partition table are wiped first and written last. A table that an earlier burn left at the end
    would otherwise lead firmware, which takes it when the first one is gone, into slots that are half written.

    Args:
        source: The image, larger than two ALIGNMENTs.
        target: At least as large.
        on_bytes: Hears of bytes written, the image's size in all.

    Source: UEFI 2.10, 5.3.2: the backup table is used where the primary one is not valid.
    """
    tables = table_pieces(source.size)
    for start, length in tables.items():
        target.write(start, bytes(length))
    target.flush()
    pieces = dict.fromkeys(range(ALIGNMENT, max(tables), ALIGNMENT), ALIGNMENT)
    for batch in (pieces, tables):
        for start, length in batch.items():
            target.write(start, source.read(start, length))
            on_bytes(length)
        target.flush()


def table_pieces(size: int) -> dict[int, int]:
    """Returns the two pieces that hold the partition table's copies: offset to length, in bytes."""
    last = (size - 1) // ALIGNMENT * ALIGNMENT
    if size - last < GPT_SECTORS * SECTOR:
        last -= ALIGNMENT
    return {0: ALIGNMENT, last: size - last}


def _compare(device: Path, start: int, wrote: bytes, read: bytes) -> None:
    if wrote != read:
        at = next(index for index, pair in enumerate(zip(wrote, read, strict=True)) if pair[0] != pair[1])
        raise DeviceFaultyError(
            f"{device} gave back other bytes than were written, first at byte {start + at}: "
            f"wrote 0x{wrote[at]:02x}, read 0x{read[at]:02x}"
        )
