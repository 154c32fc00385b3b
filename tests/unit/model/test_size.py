"""Sizes: read as people write them, shown as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.model.size import UNITS, parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("512MiB", 512 << 20), ("4 GiB", 4 << 30), ("1kB", 1000), ("2TB", 2 * 10**12), ("1TiB", 1 << 40)],
)
def test_reads(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "12", "1.5GiB", "-1B", "1 XB", "GiB", "1gib", "1GiB "])
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (512 << 20, "512 MiB"), (3 << 40, "3 TiB")],
)
def test_shows(size: int, text: str) -> None:
    assert show_size(size) == text


@given(st.integers(0, 1 << 20), st.sampled_from(sorted(UNITS)))
def test_every_unit_counts(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * UNITS[unit]
