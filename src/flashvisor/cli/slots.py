"""`flashvisor slots`: what a server starts from, what is on trial, what failed and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from flashvisor.cli.output import print_json, print_table
from flashvisor.cli.session import connect, json_option, node_option

if TYPE_CHECKING:
    from flashvisor.api.types import SlotsReport

INTACT = {True: "yes", False: "NO", None: "not read"}


@click.command("slots")
@click.option("--verify", is_flag=True, help="Have the server read both slots and compare every byte's digest.")
@node_option
@json_option
def command(*, verify: bool, node: str, as_json: bool) -> None:
    """Show the images in a server's flash: which runs, which starts first, which failed and why."""
    with connect(node) as client:
        report = client.slots(verify=verify)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: SlotsReport) -> None:
    rows = [
        [
            row.slot,
            row.version or "-",
            row.state,
            "runs" if row.running else "",
            "starts first" if row.first else "",
            INTACT[row.intact],
            row.image[:12],
        ]
        for row in report.slots
    ]
    factory = ["factory", "", "as shipped", "runs" if report.running == "factory" else ""]
    rows.append([*factory, "starts first" if report.committed == "factory" else "", "", ""])
    print_table(["slot", "version", "state", "", "", "intact", "image"], rows)
    if report.recovery:
        click.echo("\nRECOVERY: factory runs because no slot can. Write a good release: `flashvisor update DIR`.")
    if report.trial:
        click.echo(f"\nslot {report.trial} is on trial; it waits for: {', '.join(report.waits_for) or 'nothing'}")
    if report.failed:
        click.echo()
        print_table(
            ["failed release", "when", "why"],
            [
                [row.version, f"{datetime.fromtimestamp(row.when, tz=UTC):%Y-%m-%d %H:%M} UTC", row.reason]
                for row in report.failed
            ],
        )
