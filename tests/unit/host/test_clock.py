"""The clock: how often it lets others look."""

from __future__ import annotations

import time

import pytest

from flashvisor.host import clock


def test_ticks_start_at_once_and_end_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    assert list(clock.ticks(2.0, 5.0)) == [0.0, 2.0, 4.0]
    assert list(clock.ticks(2.0, 0.0)) == []
