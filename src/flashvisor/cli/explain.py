"""`flashvisor explain`: what an error code means, from the error classes themselves."""

from __future__ import annotations

import inspect
import re

import click
import msgspec

from flashvisor.cli.output import print_json, print_table
from flashvisor.cli.session import json_option
from flashvisor.errors import FlashvisorError, UnknownNameError, catalogue

FROM_MESSAGE = "The message itself says what to do."


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the catalogue."""

    code: str
    title: str
    meaning: str
    advice: str
    exit_status: int
    http_status: int


@click.command("explain")
@click.argument("code", required=False)
@json_option
def command(code: str | None, as_json: bool) -> None:
    """Explain an error CODE; without one, list all."""
    if code is None:
        rows = [explain(kind) for _, kind in sorted(catalogue().items())]
        if as_json:
            print_json(rows)
        else:
            print_table(["code", "error"], [[row.code, row.title] for row in rows])
        return
    kind = catalogue().get(code.upper())
    if kind is None:
        raise UnknownNameError(
            f"there is no error code '{code}'", next_step="`flashvisor explain` without a code lists all."
        )
    row = explain(kind)
    if as_json:
        print_json(row)
    else:
        click.echo(f"{row.code}: {row.title}\n\n{row.meaning}\n\nNext: {row.advice}")
        click.echo(f"Exit status {row.exit_status}, HTTP status {row.http_status}.")


def explain(kind: type[FlashvisorError]) -> Explanation:
    """Returns the catalogue's row for an error class: title from its name, meaning from its docstring."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__.removesuffix("Error")).lower()
    return Explanation(
        code=kind.code,
        title=words.capitalize(),
        meaning=inspect.cleandoc(kind.__doc__ or ""),
        advice=kind.advice or FROM_MESSAGE,
        exit_status=kind.exit_status,
        http_status=kind.http_status,
    )
