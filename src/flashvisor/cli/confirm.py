"""`flashvisor confirm`: keep the site applied last."""

from __future__ import annotations

import click

from flashvisor.cli.output import print_json
from flashvisor.cli.session import connect, json_option, node_option


@click.command("confirm")
@node_option
@json_option
def command(node: str, as_json: bool) -> None:
    """Keep the site applied last; without this the server goes back by itself."""
    with connect(node) as client:
        report = client.confirm()
    if as_json:
        print_json(report)
    else:
        click.echo(f"generation {report.generation} is confirmed")
