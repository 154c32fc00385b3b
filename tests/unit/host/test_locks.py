"""Directories that are held: one holder at a time, also when each removes what it held."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

from flashvisor.host.locks import holding

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 50


def test_one_holds_at_a_time_though_each_removes_the_directory(tmp_path: Path) -> None:
    place = tmp_path / "a" / "work"
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(ROUNDS):
            with holding(place):
                inside += 1
                most = max(most, inside)
                (place / "file").write_text("x")
                inside -= 1
                done += 1
                shutil.rmtree(place)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 4 * ROUNDS)
    assert not place.exists()


def test_what_was_held_stays_if_nobody_removes_it(tmp_path: Path) -> None:
    with holding(tmp_path / "work"):
        (tmp_path / "work" / "half").write_text("x")
    with holding(tmp_path / "work"):
        assert (tmp_path / "work" / "half").read_text() == "x"
