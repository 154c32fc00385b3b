"""Durations as people write them."""

from __future__ import annotations

import pytest

from flashvisor.model.duration import parse_duration, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("0s", 0.0), ("30 s", 30.0), ("10m", 600.0), ("10 min", 600.0), ("2h", 7200.0)],
)
def test_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "1.5s", "-1s", "10 mins", "1d", "1s "])
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.25, "250 ms"), (2.0, "2 s"), (90.0, "90 s"), (600.0, "10 min"), (7200.0, "2 h"), (1.5, "1.5 s")],
)
def test_shows(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text
