"""What commands print: tables for people, JSON for programs, errors for both.

Owns standard output's form. Progress goes to standard error (progress.py)::

    if as_json:
        print_json(guests)
    else:
        print_table(["name", "state"], [[guest.name, guest.state] for guest in guests])
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from flashvisor.api.types import ErrorReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flashvisor.errors import FlashvisorError

PIPE_WIDTH = 500  # characters: lines in a pipe or file are never broken
MINUTE = 60  # seconds


def print_json(value: Any) -> None:  # noqa: ANN401 - anything that msgspec encodes
    """Prints a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Prints rows under headers; columns are aligned, and nothing is cut when the output is not a terminal."""
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        # Text from servers is data: rich must not read markup in it.
        table.add_row(*(_plain(cell) for cell in row))
    console.print(table)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Prints names and values, one a line, values aligned."""
    pairs = list(fields)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {value}".rstrip())


def show_error(error: FlashvisorError, *, as_json: bool) -> None:
    """Shows an error: in words on standard error, or as an ErrorReport on standard output."""
    if as_json:
        print_json(ErrorReport(code=error.code, what=error.what, evidence=error.evidence, next_step=error.next_step))
    else:
        click.echo(str(error), err=True)


def show_seconds(seconds: float) -> str:
    """Returns a duration as people read it: "4.20 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < MINUTE:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    if minutes < MINUTE:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // MINUTE} h {minutes % MINUTE:02} min"


def show_when(when: float) -> str:
    """Returns a time (seconds since 1970 UTC) as people read it: "2026-11-24 12:00:05 UTC"."""
    return datetime.fromtimestamp(when, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(cell: str) -> str:
    return cell.replace("[", r"\[")
