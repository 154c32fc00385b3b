"""`flashvisor version`: which version this is."""

from __future__ import annotations

import platform

import click

import flashvisor
from flashvisor.api.types import API_VERSION
from flashvisor.cli.output import print_json
from flashvisor.cli.session import json_option


@click.command("version")
@json_option
def command(as_json: bool) -> None:
    """Show the version."""
    if as_json:
        print_json({"version": flashvisor.__version__, "api": API_VERSION, "python": platform.python_version()})
    else:
        click.echo(f"flashvisor {flashvisor.__version__} (API {API_VERSION}, Python {platform.python_version()})")
