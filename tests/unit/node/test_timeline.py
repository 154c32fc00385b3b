"""Stages are told once, and survive a restart of the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.errors import NoDataDiskError
from flashvisor.node.problems import Problems
from flashvisor.node.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stage_is_printed_with_two_decimals_and_once() -> None:
    said: list[str] = []
    timeline = Timeline(said.append, lambda: 1.618)
    assert timeline.reach("agent") == 1.618
    timeline.reach("agent", 9.0)
    assert said == ["flashvisor: stage=agent t=1.62"]


def test_stages_are_reported_by_time() -> None:
    timeline = Timeline(lambda _: None, lambda: 2.0)
    timeline.reach("agent")
    timeline.reach("kernel", 0.5)
    assert [(stage.name, stage.seconds) for stage in timeline.stages()] == [("kernel", 0.5), ("agent", 2.0)]


def test_a_restarted_agent_says_nothing_again(tmp_path: Path) -> None:
    said: list[str] = []
    keep = tmp_path / "timeline.json"
    Timeline(said.append, lambda: 1.0, keep).reach("ready")
    again = Timeline(said.append, lambda: 99.0, keep)
    assert again.reach("ready") == 1.0
    assert len(said) == 1


def test_a_damaged_note_is_an_empty_timeline(tmp_path: Path) -> None:
    keep = tmp_path / "timeline.json"
    keep.write_text("{")
    assert Timeline(lambda _: None, lambda: 1.0, keep).stages() == ()


def test_a_problem_is_shown_with_code_and_next_step_once() -> None:
    said: list[str] = []
    problems = Problems(said.append)
    for _ in range(2):
        problems.tell("storage", NoDataDiskError("storage.main: no disk"))
    assert problems.all() == ("FV-NODE-002: storage.main: no disk",)
    assert said[0] == "flashvisor: FV-NODE-002: storage.main: no disk"
    assert len(said) == 2
    assert "next:" in said[1]
    problems.clear("storage")
    assert problems.all() == ()
