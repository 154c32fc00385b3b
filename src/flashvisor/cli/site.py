"""`flashvisor site`: the site that a server runs, the ones that it ran before, and the schema of site files."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from flashvisor.cli.output import print_json, print_table, show_when
from flashvisor.cli.session import connect, json_option, node_option
from flashvisor.model.sitefile import site_schema
from flashvisor.model.size import show_size

if TYPE_CHECKING:
    from flashvisor.api.client import Client
    from flashvisor.api.types import GenerationReport


class Entry(Struct, frozen=True, kw_only=True):
    """A generation as `site history --json` shows it; `diff` is unified, against the one before, None if not asked."""

    generation: int
    when: float
    who: str
    confirmed: bool
    size: int
    diff: str | None = None


@click.group("site")
def command() -> None:
    """Show the site that a server runs, the ones before, or the site file's schema."""


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of site files, for editors."""
    print_json(site_schema())


@command.command("show")
@click.option("--generation", type=click.IntRange(min=1), help="This one; `site history` lists them.")
@node_option
@json_option
def show(generation: int | None, node: str, as_json: bool) -> None:
    """Print the site file that a server runs, keys put in, and nothing else."""
    with connect(node) as client:
        report = client.site() if generation is None else client.site_generation(generation)
    if as_json:
        print_json(report)
    else:
        click.echo(report.site_toml, nl=not report.site_toml.endswith("\n"))


@command.command("history")
@click.option("--diff", "with_diff", is_flag=True, help="What each changed against the one before.")
@node_option
@json_option
def history(with_diff: bool, node: str, as_json: bool) -> None:
    """Show the generations of the site that a server remembers, newest first: who applied them, and when."""
    with connect(node) as client:
        reports = client.site_history()
        diffs = _diffs(client, reports) if with_diff else {}
    entries = [_entry(report, diffs.get(report.generation)) for report in reports]
    if as_json:
        print_json(entries)
    elif with_diff:
        for entry in entries:
            click.echo(f"generation {entry.generation}, {show_when(entry.when)}, {entry.who}{_unconfirmed(entry)}")
            click.echo(entry.diff or "no change\n", nl=False)
            click.echo()
    else:
        print_table(
            ["generation", "when", "who", "", "size"],
            [
                [str(entry.generation), show_when(entry.when), entry.who, _unconfirmed(entry).lstrip(", "),
                 show_size(entry.size)]
                for entry in entries
            ],
        )  # fmt: skip


def unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """Returns the changes from one text to another as a unified diff, "" if there are none."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _diffs(client: Client, reports: tuple[GenerationReport, ...]) -> dict[int, str]:
    """Each generation's changes; the texts come one by one, for all of them together may be megabytes."""
    found, before, name = {}, "", "nothing"
    for report in reversed(reports):
        text, title = client.site_generation(report.generation).site_toml, f"generation {report.generation}"
        found[report.generation] = unified(before, text, name, title)
        before, name = text, title
    return found


def _entry(report: GenerationReport, diff: str | None) -> Entry:
    return Entry(
        generation=report.generation,
        when=report.when,
        who=report.who,
        confirmed=report.confirmed,
        size=report.size,
        diff=diff,
    )


def _unconfirmed(entry: Entry) -> str:
    return "" if entry.confirmed else ", not confirmed"
