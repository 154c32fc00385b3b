"""`flashvisor site`: the site that a server runs, and the schema of site files."""

from __future__ import annotations

import click

from flashvisor.cli.output import print_json
from flashvisor.cli.session import connect, json_option, node_option
from flashvisor.model.sitefile import site_schema


@click.group("site")
def command() -> None:
    """Show the site that a server runs, or the site file's schema."""


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of site files, for editors."""
    print_json(site_schema())


@command.command("show")
@node_option
@json_option
def show(node: str, as_json: bool) -> None:
    """Print the site file that a server runs, keys put in, and nothing else."""
    with connect(node) as client:
        report = client.site()
    if as_json:
        print_json(report)
    else:
        click.echo(report.site_toml, nl=not report.site_toml.endswith("\n"))
