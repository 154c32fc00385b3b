"""Writing a slot: what is written, and every cut of power on the way."""

from __future__ import annotations

import contextlib
from random import Random

import pytest

from flashvisor.errors import LayoutError, SlotReadBackError
from flashvisor.flash.update import BLOCK, differing, write_slot
from sim.flashsim import FlashSim, PowerCut

BLOCKS = 64
CHANGED = frozenset(range(3, BLOCKS, 2))
SEEDS = 8
OLD = Random(1).randbytes(BLOCKS * BLOCK)  # noqa: S311 it must be repeatable


def new_image() -> bytes:
    image = bytearray(OLD)
    for block in CHANGED:
        image[block * BLOCK + 17] ^= 1
    return bytes(image)


NEW = new_image()


class Forgetful(FlashSim):
    """Shows a written block from its cache, and has lost it once the cache is forgotten."""

    def forget_cache(self) -> None:
        super().forget_cache()
        self.medium[5 * BLOCK : 6 * BLOCK] = OLD[5 * BLOCK : 6 * BLOCK]


def test_only_blocks_that_differ_are_written() -> None:
    flash = FlashSim(len(OLD), content=OLD)
    assert write_slot(flash, FlashSim(len(NEW), content=NEW)) == len(CHANGED) * BLOCK
    assert flash.writes == [(block * BLOCK, BLOCK) for block in sorted(CHANGED)]
    assert bytes(flash.medium) == NEW
    assert write_slot(flash, FlashSim(len(NEW), content=NEW)) == 0
    assert len(flash.writes) == len(CHANGED)


def test_any_cut_is_resumed_and_writes_no_block_that_is_there() -> None:
    cuts = 0
    for cut_after in range(len(CHANGED)):
        for seed in range(SEEDS):
            flash = FlashSim(len(OLD), content=OLD, cut_after=cut_after, chance=Random(seed))  # noqa: S311
            image = FlashSim(len(NEW), content=NEW)
            with contextlib.suppress(PowerCut):
                write_slot(flash, image)
            assert not flash.powered
            cuts += 1
            flash = flash.power_on()
            missing = differing(flash, image)
            assert write_slot(flash, image) == len(missing) * BLOCK
            assert [offset for offset, _ in flash.writes] == missing
            assert bytes(flash.medium) == NEW
    assert cuts == len(CHANGED) * SEEDS


def test_a_block_that_flash_did_not_keep_is_told() -> None:
    with pytest.raises(SlotReadBackError, match=f"1 blocks .* at byte {5 * BLOCK}"):
        write_slot(Forgetful(len(OLD), content=OLD), FlashSim(len(NEW), content=NEW))


@pytest.mark.parametrize("size", [len(OLD) - BLOCK, len(OLD) + BLOCK])
def test_another_size_is_refused_before_anything_is_written(size: int) -> None:
    flash = FlashSim(size)
    with pytest.raises(LayoutError, match=str(size)):
        write_slot(flash, FlashSim(len(NEW), content=NEW))
    assert not flash.writes
