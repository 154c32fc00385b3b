"""`flashvisor factory-reset`: back to the image that the server was shipped with."""

from __future__ import annotations

import click

from flashvisor.cli.output import print_json
from flashvisor.cli.session import connect, json_option, node_option


@click.command("factory-reset")
@click.option("--keep-site/--drop-site", default=None, help="Whether networks, storage and guests stay declared.")
@click.option("--yes", is_flag=True, help="Do not ask whether to restart.")
@node_option
@json_option
def command(*, keep_site: bool | None, yes: bool, node: str, as_json: bool) -> None:
    """Restart a server with the image that it was shipped with. What is on its data disks stays."""
    if keep_site is None:
        keep_site = click.confirm("Keep the site: its networks, storage and guests?", default=True)
    if not yes:
        click.confirm("The server's guests will be down while it restarts. Go on?", abort=True)
    with connect(node) as client:
        client.factory_reset(keep_site=keep_site)
        address = client.address
    if as_json:
        print_json({"address": address.authority, "restarts": True, "keep_site": keep_site})
    else:
        click.echo(f"{address} restarts with the image that it was shipped with.")
