"""Cuts of power while a device that was burnt before is burnt again, judged as UEFI reads partition tables.

cut_burns(seeds=range(4)).points
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING

from flashvisor.flash.burn import write_device
from flashvisor.flash.layout import ALIGNMENT, GPT_SECTORS, SECTOR
from sim.cuts import Tally
from sim.flashsim import FlashSim, PowerCut
from sim.slotsim import Power, PoweredFlash

if TYPE_CHECKING:
    from collections.abc import Iterable

MIDDLE = 3  # MiB between the one with the first table and the one with the second
SIZE = (MIDDLE + 2) * ALIGNMENT
PRIMARY = (1 + GPT_SECTORS) * SECTOR  # bytes: MBR, header, entries
BACKUP = GPT_SECTORS * SECTOR  # bytes


def image(seed: int) -> bytes:
    """A flash image: noise everywhere, so that a sector of another image is always told apart."""
    return Random(seed).randbytes(SIZE)  # noqa: S311 it must be repeatable


OLD, NEW = image(1), image(2)


def boots(medium: bytes) -> str:
    """Returns which image firmware finds: by the first table, or by the one at the end where the first is not valid."""
    for table in (slice(0, PRIMARY), slice(SIZE - BACKUP, SIZE)):
        for name, content in (("old", OLD), ("new", NEW)):
            if medium[table] == content[table]:
                slots = slice(ALIGNMENT, SIZE - ALIGNMENT)  # as in the layout: nothing lies beside the tables
                assert medium[slots] == content[slots], f"the {name} table leads to slots that are half written"
                return name
    return "nothing"


def burn(flash: PoweredFlash) -> None:
    """Burns NEW."""
    write_device(FlashSim(SIZE, content=NEW), flash, lambda _: None)


def cut_burns(seeds: Iterable[int]) -> Tally:
    """Cuts a burn at each of its events, once for each seed."""
    tally = Tally()
    whole = PoweredFlash(SIZE, Power(), content=OLD)
    burn(whole)
    assert boots(bytes(whole.medium)) == "new"
    for seed in seeds:
        for event in range(whole.power.count):
            chance = Random(1000 * seed + event)  # noqa: S311
            flash = PoweredFlash(SIZE, Power(event), content=OLD, chance=chance)
            try:
                burn(flash)
            except PowerCut:
                medium = bytes(flash.medium)
            else:
                raise AssertionError(f"nothing was cut at event {event}")
            tally.points.add((event, hashlib.sha256(medium).digest()))
            tally.ran[boots(medium)] += 1
    return tally
