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
from typing import TYPE_CHECKING

import click

from flashvisor.api.client import Client
from flashvisor.cli.nodebook import NodeBook, default_path
from flashvisor.cli.passphrase import ask
from flashvisor.trust.keyring import Keyring, default_directory

if TYPE_CHECKING:
    from collections.abc import Callable

node_option = click.option(
    "--node", default="", metavar="HOST[:PORT]", help="The server: an address, or a name given by `node use`."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def connector(node: str) -> Callable[[], Client]:
    """Returns what makes clients, not yet connected, for one server: the passphrase is asked for once for all of them.

    Args:
        node: A name or address; "" leaves it to FLASHVISOR_NODE or the default.

    Raises:
        NoNodeNamedError: none of them names one.
        KeyringMissingError: there are no keys to prove ourselves with.
    """
    address = NodeBook.load(default_path()).resolve(node, os.environ)
    keyring = Keyring.open(default_directory(), ask)
    return lambda: Client(address, keyring)


def connect(node: str) -> Client:
    """Returns one client; raises as `connector`."""
    return connector(node)()
