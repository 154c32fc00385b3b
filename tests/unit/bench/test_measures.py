"""What the benchmark makes of its numbers: medians, spread, ratios and goals."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from flashvisor.bench.measures import GOALS, Goal, Result, Samples, compare, summarize

SAMPLES = Samples(
    slot=25_000_000,
    peer_installed=1_000_000_000,
    ready=[21.0, 20.0, 25.0],
    peer_ready=[60.0, 50.0, 55.0],
    bare_init=[10.0, 11.0, 9.0],
    answer=[30.0, 28.0, 29.0],
    peer_answer=[80.0, 90.0, 85.0],
    ram=[150 << 20, 140 << 20, 145 << 20],
    peer_ram=[300 << 20, 290 << 20, 310 << 20],
)


def by_name(samples: Samples) -> dict[str, Result]:
    return {result.row.name: result for result in compare(samples)}


def test_a_series_is_its_median_and_its_ends() -> None:
    series = summarize([5.0, 1.0, 9.0, 3.0])
    assert (series.median, series.low, series.high, series.count) == (4.0, 1.0, 9.0, 4)


def test_nothing_measured_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="nothing was measured"):
        summarize([])


def test_all_measures_are_there_in_order() -> None:
    assert [result.row.name for result in compare(SAMPLES)] == [
        "slot_bytes",
        "ready_s",
        "ready_vs_bare_kernel_s",
        "guest_answer_s",
        "host_ram_bytes",
    ]


def test_a_row_is_medians_and_their_ratio() -> None:
    row = by_name(SAMPLES)["guest_answer_s"].row
    assert (row.value, row.peer_value, row.unit, row.runs) == (29.0, 85.0, "s", 3)
    assert row.ratio == pytest.approx(29 / 85, abs=1e-4)


def test_a_row_on_the_wire_has_these_keys_and_no_others() -> None:
    line = msgspec.json.decode(msgspec.json.encode(compare(SAMPLES)[0].row))
    assert sorted(line) == ["name", "peer", "peer_value", "ratio", "runs", "unit", "value"]
    assert line["value"] == 25_000_000
    assert line["runs"] == 1


def test_being_ready_is_held_against_the_peer_and_against_the_bare_kernel() -> None:
    results = by_name(SAMPLES)
    assert results["ready_s"].row.peer_value == 55.0
    assert results["ready_vs_bare_kernel_s"].row.peer_value == 10.0
    assert results["ready_s"].row.value == results["ready_vs_bare_kernel_s"].row.value == 21.0


def test_the_spread_is_kept() -> None:
    result = by_name(SAMPLES)["ready_s"]
    assert (result.ours.low, result.ours.high) == (20.0, 25.0)
    assert (result.theirs.low, result.theirs.high) == (50.0, 60.0)


def test_goals_of_ratios_are_met_and_missed() -> None:
    results = by_name(SAMPLES)
    assert results["slot_bytes"].met is True
    assert results["ready_vs_bare_kernel_s"].met is True
    assert results["guest_answer_s"].met is False
    assert results["ready_s"].met is None
    assert by_name(replace(SAMPLES, slot=50_000_000))["slot_bytes"].met is True
    assert by_name(replace(SAMPLES, slot=50_000_001))["slot_bytes"].met is False  # though its ratio is shown as 0.05


def test_the_goal_for_ram_is_bytes_whatever_the_peer_uses() -> None:
    assert GOALS["host_ram_bytes"] == Goal(160 << 20, of_ratio=False)
    assert by_name(SAMPLES)["host_ram_bytes"].met is True
    assert by_name(replace(SAMPLES, ram=[161 << 20] * 3))["host_ram_bytes"].met is False


def test_contestants_must_have_run_equally_often() -> None:
    with pytest.raises(RuntimeError, match="ready_s: 2 runs of ours and 3"):
        compare(replace(SAMPLES, ready=[20.0, 21.0]))
