"""The wear ledger's sums, and what is told of them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.flash.wear import (
    DAILY_BUDGET,
    DAYS_KEPT,
    ERASE_BLOCK,
    amplification,
    book,
    compare,
    endurance,
    forecast,
    over_budget,
    worn_by,
    written_by_stat,
)
from flashvisor.model.record import Wear, decode, encode

TODAY = date(2026, 11, 24)
NEW = Wear(bytes_written=0)
PAGE = 4096
writes = st.lists(
    st.tuples(
        st.integers(0, 40), st.sampled_from(["update", "boot", "apply"]),
        st.lists(st.tuples(st.integers(0, 1 << 24), st.integers(0, 1 << 18)), max_size=4),
    ), max_size=20,
)  # fmt: skip


@given(writes)
def test_every_byte_is_booked_once_to_a_cause_and_a_day(todo: list[tuple[int, str, list[tuple[int, int]]]]) -> None:
    ledger = NEW
    for ago, cause, ranges in todo:
        ledger = book(ledger, TODAY - timedelta(ago), cause, ranges)
    total = sum(length for _, _, ranges in todo for _, length in ranges)
    assert ledger.bytes_written == sum(ledger.by_cause.values()) == total
    assert len(ledger.by_day) <= DAYS_KEPT
    for day, row in ledger.by_day.items():
        for cause, count in row.items():
            mine = [
                ranges for ago, name, ranges in todo if (TODAY - timedelta(ago)).isoformat() == day and name == cause
            ]
            # A day that was pushed out by later ones and came back counts from then on.
            assert count <= sum(length for ranges in mine for _, length in ranges)
    assert decode(encode(ledger), Wear) == ledger


def test_an_erase_block_is_worn_once_however_often_it_is_touched_between_two_flushes() -> None:
    assert worn_by([(0, PAGE), (PAGE, PAGE)]) == ERASE_BLOCK
    assert worn_by([(ERASE_BLOCK - 1, 2)]) == 2 * ERASE_BLOCK
    assert worn_by([(0, ERASE_BLOCK)]) == ERASE_BLOCK
    assert worn_by([(5, 0)]) == 0
    apart = book(book(NEW, TODAY, "boot", [(0, PAGE)]), TODAY, "boot", [(PAGE, PAGE)])
    assert apart.worn == 2 * ERASE_BLOCK
    assert amplification(apart) == ERASE_BLOCK / PAGE
    assert amplification(NEW) is None


def test_the_kernels_count() -> None:
    stat = "     100        0     8000       12       21        3      808       40        0       52       52"
    assert written_by_stat(stat) == 808 * 512
    assert compare(808 * 512, written_by_stat(stat)).agrees
    assert not compare(808 * 512 - 4096, written_by_stat(stat)).agrees
    with pytest.raises(ValueError, match="stat"):
        written_by_stat("1 2 3")


def test_a_broken_budget_names_the_causes() -> None:
    fine = book(NEW, TODAY, "update", [(0, DAILY_BUDGET)])
    assert over_budget(fine, TODAY) is None
    broken = book(book(fine, TODAY, "boot", [(0, PAGE)]), TODAY - timedelta(1), "apply", [(0, PAGE)])
    event = over_budget(broken, TODAY)
    assert event
    assert event.by_cause == (("update", DAILY_BUDGET), ("boot", PAGE))
    assert "2026-11-24" in event.sentence
    assert "boot" in event.sentence
    assert over_budget(broken, TODAY - timedelta(1)) is None


def test_the_end_of_life_and_what_it_is_based_on() -> None:
    ledger = NEW
    for ago in range(10):
        ledger = book(ledger, TODAY - timedelta(ago), "update", [(0, ERASE_BLOCK)])
    life = 1010 * ERASE_BLOCK
    ours = forecast(ledger, TODAY, life)
    assert ours.day == TODAY + timedelta(1000)
    assert "estimate" in ours.sentence
    device = forecast(ledger, TODAY, life, used=0.5)
    assert device.day == TODAY + timedelta(505)
    assert "the device's own count" in device.sentence


def test_flash_that_is_not_written_does_not_wear_out() -> None:
    assert forecast(NEW, TODAY, endurance(128_000_000)).day is None
    once = book(NEW, TODAY - timedelta(DAYS_KEPT), "burn", [(0, PAGE)])
    assert forecast(once, TODAY, endurance(128_000_000)).day is None
    little = book(NEW, TODAY, "boot", [(0, 1)])
    assert "calendar" in forecast(little, TODAY, 1 << 60).sentence


def test_flash_past_its_life_says_today() -> None:
    ledger = book(NEW, TODAY, "update", [(0, ERASE_BLOCK)])
    assert forecast(ledger, TODAY, ERASE_BLOCK // 2).day == TODAY
