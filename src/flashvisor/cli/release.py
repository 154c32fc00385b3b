"""`flashvisor release`: what a repository of releases holds."""

from __future__ import annotations

from pathlib import Path

import click

from flashvisor.cli.output import print_fields, print_json, print_table
from flashvisor.cli.session import json_option
from flashvisor.errors import NoSuchReleaseError
from flashvisor.trust.repository import releases

DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))


@click.group("release")
def command() -> None:
    """Show the releases that a directory holds for servers to update to."""


@command.command("list")
@DIRECTORY
@json_option
def list_(directory: Path, as_json: bool) -> None:
    """List what was published in DIRECTORY, oldest version first."""
    found = releases(directory)
    if as_json:
        print_json(found)
        return
    rows = [[each.name, each.version, each.flavour.value, f"{each.length:,}", each.sha256] for each in found]
    print_table(["name", "version", "flavour", "bytes", "SHA-256"], rows)


@command.command("show")
@DIRECTORY
@click.argument("version", default="")
@json_option
def show(directory: Path, version: str, as_json: bool) -> None:
    """Show the release of VERSION in DIRECTORY, or the newest."""
    found = [each for each in releases(directory) if version in ("", each.version)]
    if not found:
        raise NoSuchReleaseError(f"{directory} holds no release {version}".rstrip())
    release = found[-1]
    if as_json:
        print_json(release)
        return
    print_fields(
        [
            ("name", release.name),
            ("version", release.version),
            ("flavour", release.flavour.value),
            ("bytes", f"{release.length:,}"),
            ("SHA-256", release.sha256),
            ("chunks", f"{len(release.chunks):,}"),
            ("device patterns", f"{len(release.modaliases):,}"),
        ]
    )
