"""A slot's content made by real mtools: the same on the build machine and on a server, and read by fsck.fat."""

from __future__ import annotations

import shutil
from random import Random
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import ImageTooLargeError
from flashvisor.flash.burn import make_flash_image
from flashvisor.flash.layout import BOOT_FILE, PARTITIONS, STATE
from flashvisor.flash.ring import Ring
from flashvisor.flash.slotimage import content_digest, region_digest, slot_content
from flashvisor.flash.update import BLOCK, differing, write_slot
from flashvisor.host import mtools
from flashvisor.host.block import BlockFile
from flashvisor.host.files import sha256_file
from flashvisor.host.run import run
from flashvisor.model.record import RecordKind, Slots, decode
from flashvisor.model.slot import IMAGE_LIMIT, Slot, SlotState

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools
SIZE = 3_000_000  # bytes of an image


@pytest.fixture(scope="module")
def efi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("efi") / "flashvisor.efi"
    path.write_bytes(Random(1).randbytes(SIZE))  # noqa: S311 it must be repeatable
    return path


@pytest.fixture(scope="module")
def flash(efi: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flash") / "flash.img"
    make_flash_image(efi, path, [], "1.2")
    return path


@pytest.mark.parametrize("slot", [Slot.FACTORY, Slot.A])
def test_a_server_makes_the_same_bytes_as_the_burn(efi: Path, flash: Path, slot: Slot, tmp_path: Path) -> None:
    with slot_content(efi, slot, tmp_path) as content:
        assert content_digest(content) == region_digest(flash, PARTITIONS[slot])
    assert list(tmp_path.iterdir()) == []


def test_what_is_seeded_names_a_as_committed_with_its_digest(efi: Path, flash: Path) -> None:
    with BlockFile(flash, offset=STATE.start, length=STATE.size) as device:
        record = Ring.open(device).latest(RecordKind.SLOTS)
    assert record
    slots = decode(record.payload, Slots)
    assert slots.committed is Slot.A
    assert slots.a.sha256 == region_digest(flash, PARTITIONS["a"])
    assert (slots.a.state, slots.a.image, slots.a.version) == (SlotState.COMMITTED, sha256_file(efi), "1.2")
    assert (slots.b.state, slots.b.sha256) == (SlotState.IDLE, "")


def test_a_changed_image_costs_the_blocks_that_changed_and_is_one_piece(efi: Path, flash: Path, tmp_path: Path) -> None:
    device = tmp_path / "device"
    shutil.copy(flash, device)
    changed = bytearray(efi.read_bytes())
    for at in range(100_000, 400_000, 50_000):
        changed[at] ^= 1
    newer = tmp_path / "newer.efi"
    newer.write_bytes(changed)
    region = PARTITIONS["b"]
    with BlockFile(device, write=True, offset=region.start, length=region.size) as slot:
        with slot_content(efi, Slot.B, tmp_path) as content:
            first = write_slot(slot, content)
        with slot_content(newer, Slot.B, tmp_path) as content:
            assert len(differing(slot, content)) == 6
            assert write_slot(slot, content) == 6 * BLOCK
        data = slot.read(0, slot.size)
    assert first < SIZE + 32 * BLOCK
    assert bytes(changed) in data, "the image lies in one piece"
    (tmp_path / "fat").write_bytes(data)
    run(["fsck.fat", "-n", tmp_path / "fat"])
    mtools.read_file(tmp_path / "fat", BOOT_FILE, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == bytes(changed)


def test_an_image_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.efi"
    large.touch()
    with large.open("r+b") as file:
        file.truncate(IMAGE_LIMIT)
    with pytest.raises(ImageTooLargeError, match=str(IMAGE_LIMIT)), slot_content(large, Slot.A, tmp_path):
        pass
