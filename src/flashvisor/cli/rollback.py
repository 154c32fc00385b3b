"""`flashvisor rollback`: back to the image that ran before."""

from __future__ import annotations

import click

from flashvisor.api.flashtypes import RollbackRequest
from flashvisor.cli.output import print_json
from flashvisor.cli.session import connect, json_option, node_option
from flashvisor.cli.trial_options import health_option, how_it_ends, probation_option


@click.command("rollback")
@probation_option
@health_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@node_option
@json_option
def command(*, probation: float, health_url: str, yes: bool, node: str, as_json: bool) -> None:
    """Go back to the image that ran before: guests are stopped, and the server restarts into its other slot.

    While a release is on trial, this ends the trial.
    """
    if not yes:
        click.confirm("The server's guests will be down while it restarts. Go on?", abort=True)
    with connect(node) as client:
        client.rollback(RollbackRequest(probation=probation, health_url=health_url))
        address = client.address
    if as_json:
        print_json({"address": address.authority, "restarts": True})
    else:
        click.echo(f"{address} restarts into its other slot; {how_it_ends(probation, health_url)}")
