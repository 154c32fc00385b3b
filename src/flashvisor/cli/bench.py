"""`flashvisor bench`: our server against Debian with libvirt, and against its own bare kernel, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from flashvisor.bench.course import RACK, build_materials, measure
from flashvisor.bench.measures import BYTES, compare
from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.cli.output import print_json, print_table
from flashvisor.cli.progress import progress, timed
from flashvisor.cli.session import json_option
from flashvisor.host.files import MIB, write_atomic
from flashvisor.lab import accel

if TYPE_CHECKING:
    from flashvisor.bench.measures import Goal, Result, Series

OUTPUT = Path("build/bench")
RESULTS = "results.jsonl"
VERDICTS = {True: "met", False: "missed", None: "-"}


@click.command("bench")
@click.option("--runs", type=click.IntRange(min=1, max=99), default=5, show_default=True, help="Of each server.")
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT, show_default=True)
@json_option
def command(runs: int, output: Path, as_json: bool) -> None:
    """Measure against Debian 13 with libvirt on the same virtual hardware, and against the bare kernel. Needs root."""
    cache, keyring = open_cache(), open_keyring()
    if not accel.is_known(output / RACK):
        with timed("asking whether KVM boots a guest on this machine", accel.LIMIT):
            accel.kvm_boots(output / RACK)
    materials = build_materials(cache, keyring, output)
    samples = measure(materials, keyring, runs, lambda title: progress(title, total=None))
    results = compare(samples)
    lines = [msgspec.json.encode(result.row) + b"\n" for result in results]
    write_atomic(output / RESULTS, b"".join(lines))
    if as_json:
        print_json([result.row for result in results])
        return
    print_table(
        ["measure", "ours", "peer's", "ratio", "goal", "", "runs", "against"],
        [_cells(result) for result in results],
        title="Medians (smallest to largest); seconds count from power-on",
    )
    click.echo(f"\n{output / RESULTS}")


def _cells(result: Result) -> list[str]:
    row = result.row
    return [
        row.name,
        _show(result.ours, row.unit),
        _show(result.theirs, row.unit),
        f"{row.ratio:.3f}",
        _show_goal(result.goal, row.unit),
        VERDICTS[result.met],
        str(row.runs),
        row.peer,
    ]


def _show(series: Series, unit: str) -> str:
    values = [_value(value, unit) for value in (series.median, series.low, series.high)]
    word = "MiB" if unit == BYTES else unit
    return f"{values[0]} {word} ({values[1]} to {values[2]})"


def _show_goal(goal: Goal | None, unit: str) -> str:
    if goal is None:
        return "-"
    if goal.of_ratio:
        return f"ratio ≤ {goal.limit:.3g}"
    return f"≤ {_value(goal.limit, unit)} {'MiB' if unit == BYTES else unit}"


def _value(value: float, unit: str) -> str:
    return f"{value / MIB:,.1f}" if unit == BYTES else f"{value:.2f}"
