"""`flashvisor appliance`: small guests that are one file."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.cli.output import print_fields, print_json, print_table
from flashvisor.cli.session import json_option
from flashvisor.image import appliance, catalogue

DEFAULT_OUTPUT = Path("build/appliances")


class ApplianceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `appliance build --json` prints. Sizes in bytes; `memory` is what a guest needs, as in a site file."""

    name: str
    version: str
    serves: str
    memory: str
    file: str
    bytes: int
    limit_bytes: int


class ApplianceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `appliance list --json`. `keeps` is what goes to the guest's disk; "" if it has no use for one."""

    name: str
    version: str
    summary: str
    serves: str
    memory: str
    keeps: str


class ApplianceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `appliance show --json` prints: an appliance's own text files, by path in it."""

    name: str
    settings: str
    files: dict[str, str]


@click.group("appliance")
def command() -> None:
    """Build small guests that are one file."""


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the appliances that can be built."""
    rows = [
        ApplianceRow(
            name=recipe.name,
            version=recipe.version,
            summary=recipe.summary,
            serves=recipe.serves,
            memory=recipe.memory,
            keeps=recipe.keeps,
        )
        for recipe in map(catalogue.load, catalogue.names())
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["name", "what", "serves", "memory", "keeps on a disk"],
        [[row.name, row.summary, row.serves, row.memory, row.keeps] for row in rows],
    )


@command.command("show")
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="All of its text files, not its settings alone.")
@json_option
def show(name: str, *, everything: bool, as_json: bool) -> None:
    """Print an appliance's settings, to begin your own with."""
    recipe = catalogue.load(name)
    files = catalogue.filled(recipe)
    if as_json:
        print_json(ApplianceSettings(name=name, settings=catalogue.SETTINGS, files=files))
        return
    shown = {path: text for path, text in files.items() if everything or path == catalogue.SETTINGS}
    for path, text in shown.items():
        click.echo(f"# {path}\n{text}", nl=False)
    if not shown:
        click.echo(f"{name} takes no settings")


@command.command("build")
@click.argument("name")
@click.option("--output", type=click.Path(path_type=Path), default=DEFAULT_OUTPUT, show_default=True)
@json_option
def build(name: str, output: Path, as_json: bool) -> None:
    """Build an appliance into OUTPUT/NAME.efi."""
    catalogue.load(name)  # a wrong name is told before the long work begins
    result = appliance.build(open_cache(), open_keyring(), name, output)
    report = ApplianceReport(
        name=name,
        version=result.recipe.version,
        serves=result.recipe.serves,
        memory=result.recipe.memory,
        file=str(result.path),
        bytes=result.size,
        limit_bytes=result.recipe.limit,
    )
    if as_json:
        print_json(report)
        return
    print_fields(
        [
            ("file", report.file),
            ("bytes", f"{report.bytes:,} of {report.limit_bytes:,}"),
            ("version", report.version),
            ("serves", report.serves),
            ("memory", f"{report.memory} for the guest"),
        ]
    )
