"""The flash device's partitions."""

from __future__ import annotations

import itertools

import pytest

from flashvisor.flash.layout import (
    ALIGNMENT,
    DEVICE_SIZE,
    ESP_TYPE,
    PARTITIONS,
    SECTOR,
    SLOTS,
    STATE,
    regions,
)
from flashvisor.flash.ringformat import SEGMENT
from flashvisor.model.slot import IMAGE_LIMIT


def test_all_fits_between_the_two_tables() -> None:
    assert DEVICE_SIZE <= 128_000_000
    assert next(iter(PARTITIONS.values())).start >= 34 * SECTOR
    assert STATE.end <= DEVICE_SIZE - 33 * SECTOR


def test_partitions_are_aligned_and_do_not_overlap() -> None:
    for first, second in itertools.pairwise(PARTITIONS.values()):
        assert first.end == second.start
    assert all(part.start % ALIGNMENT == 0 and part.size % ALIGNMENT == 0 for part in PARTITIONS.values())


@pytest.mark.parametrize("name", SLOTS)
def test_a_slot_holds_the_largest_image_beside_its_tables(name: str) -> None:
    clusters = PARTITIONS[name].size // 2048
    tables = SECTOR + 2 * 2 * (clusters + 2) + 512 * 32  # FAT16: boot sector, two FATs, root directory
    directories = 2 * 2048
    assert PARTITIONS[name].size - tables - directories - 2048 >= IMAGE_LIMIT


def test_the_state_ring_is_as_large_as_can_be() -> None:
    assert STATE.size >= 8 << 20
    assert STATE.size % SEGMENT == 0
    assert DEVICE_SIZE - STATE.end < ALIGNMENT


def test_factory_comes_first_and_alone_is_what_firmware_looks_for() -> None:
    assert [part.label for part in PARTITIONS.values()] == ["fv-factory", "fv-a", "fv-b", "fv-state"]
    assert [part.label for part in PARTITIONS.values() if part.kind == ESP_TYPE] == ["fv-factory"]


def test_guids_are_unique_and_always_the_same() -> None:
    assert len({part.guid for part in PARTITIONS.values()}) == 4
    assert regions() == PARTITIONS
    assert PARTITIONS["a"].guid == "C13D78B1-7962-5107-8823-610F59C8BB28", "boot entries name it: it never changes"
