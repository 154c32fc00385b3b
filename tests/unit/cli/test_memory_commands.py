"""What a server remembers, as commands show it: its flash's wear, its boots, its site's generations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flashvisor.api.types import ApplyRequest
from flashvisor.cli.site import unified
from sim.nodesim import FLASH

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim.nodesim import NodeSim
    from unit.cli.conftest import Ran

pytestmark = pytest.mark.usefixtures("sim")


def test_node_show_has_the_flash_in_two_lines(flashvisor: Callable[..., Ran]) -> None:
    words = flashvisor("node", "show").stdout
    assert "8 KiB since power-on, 88 KiB over its life" in words
    assert "0.1% of its life is used up" in words


def test_node_wear_tells_all_and_says_what_is_an_estimate(flashvisor: Callable[..., Ran]) -> None:
    words = flashvisor("node", "wear").stdout
    assert "512 KiB (estimate), 5.8 for each byte written (estimate)" in words
    assert "12 KiB (12288 bytes): NOT THE SAME" in words
    assert "84 KiB of 95.4 MiB a day" in words
    assert "USB stick; it has no way to say how worn it is" in words
    causes = [line.split() for line in words.splitlines() if line.startswith(("update ", "boot "))]
    assert causes == [["update", "81920"], ["boot", "8192"]]
    days = [line.split()[:2] for line in words.splitlines() if line.startswith("2026-")]
    assert days == [["2026-11-24", "86016"], ["2026-11-23", "4096"]]
    assert json.loads(flashvisor("node", "wear", "--json").stdout)["by_day"] == FLASH.by_day


def test_boots(flashvisor: Callable[..., Ran]) -> None:
    words = flashvisor("node", "boots").stdout
    assert "1970-01-01 00:01:00 UTC" in words
    assert "12.50 s" in words
    assert json.loads(flashvisor("node", "boots", "--json").stdout)[0]["slot"] == "a"


def test_history_lists_diffs_and_gives_old_texts_back(flashvisor: Callable[..., Ran], sim: NodeSim) -> None:
    sim.applied = [ApplyRequest(site_toml=text) for text in ("one\ntwo\n", "one\n2\n", "one\n2\n")]
    sim.confirmed = False
    rows = flashvisor("site", "history").stdout.splitlines()
    assert [row.split()[0] for row in rows[-3:]] == ["3", "2", "1"]
    assert " ".join(rows[-3].split()) == "3 1970-01-01 00:03:00 UTC anna not confirmed 6 B"
    assert sim.calls == ["site_history"]
    words = flashvisor("site", "history", "--diff").stdout
    assert "generation 2, 1970-01-01 00:02:00 UTC, anna, not confirmed\n--- generation 1\n+++ generation 2" in words
    assert "\n-two\n+2\n" in words
    assert "generation 3, 1970-01-01 00:03:00 UTC, anna, not confirmed\nno change\n" in words
    found = json.loads(flashvisor("site", "history", "--diff", "--json").stdout)
    assert [row["generation"] for row in found] == [3, 2, 1]
    assert found[2]["diff"] == unified("", "one\ntwo\n", "nothing", "generation 1")
    assert json.loads(flashvisor("site", "history", "--json").stdout)[0]["diff"] is None
    assert flashvisor("site", "show", "--generation", "1").stdout == "one\ntwo\n"
    ran = flashvisor("site", "show", "--generation", "9")
    assert (ran.status, ran.stderr.split(":")[0]) == (7, "FV-NODE-021")


def test_a_diff_of_the_same_text_is_empty() -> None:
    assert unified("a\n", "a\n", "x", "y") == ""
    assert unified("a\n", "b\n", "x", "y") == "--- x\n+++ y\n@@ -1 +1 @@\n-a\n+b\n"
