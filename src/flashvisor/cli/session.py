"""What all commands that talk to a server share: the options --node and --json, and the connection.

Example::

    @click.command()
    @node_option
    @json_option
    def show(node: str, as_json: bool) -> None:
        with connect(node) as client: ...
"""

from __future__ import annotations

import os

import click

from flashvisor.api.client import Client
from flashvisor.cli.nodebook import NodeBook, default_path
from flashvisor.cli.passphrase import ask
from flashvisor.trust.keyring import Keyring, default_directory

node_option = click.option(
    "--node", default="", metavar="HOST[:PORT]", help="The server: an address, or a name given by `node use`."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def connect(node: str) -> Client:
    """Returns a client, not yet connected, for the server that `--node`, FLASHVISOR_NODE or the default names.

    Raises:
        NoNodeNamedError: none of them names one.
        KeyringMissingError: there are no keys to prove ourselves with.
    """
    address = NodeBook.load(default_path()).resolve(node, os.environ)
    return Client(address, Keyring.open(default_directory(), ask))
