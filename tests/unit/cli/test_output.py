"""Tables, fields, JSON and durations."""

from __future__ import annotations

import json

import pytest

from flashvisor.api.types import Stage
from flashvisor.cli.output import print_fields, print_json, print_table, show_seconds


def test_tables_cut_nothing_and_read_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 200
    print_table(["name", "value"], [["[bold]a[/bold]", long], ["b", "1"]], title="things")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "things"
    assert f"[bold]a[/bold]   {long}" in lines


def test_fields_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields([("a", "1"), ("long", "")])
    assert capsys.readouterr().out == "a     1\nlong\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json((Stage(name="ready", seconds=1.5),))
    assert json.loads(capsys.readouterr().out) == [{"name": "ready", "seconds": 1.5}]


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4.20 s"), (59.994, "59.99 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text
