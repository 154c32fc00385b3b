"""`flashvisor try`: builds everything, powers on a virtual server, runs the example site, and says what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashvisor.api.address import parse_address
from flashvisor.api.rollout import wait_for_guests
from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.cli.ledger import show_ledger
from flashvisor.cli.nodebook import NodeBook, default_path
from flashvisor.cli.output import print_table
from flashvisor.cli.progress import progress, timed
from flashvisor.host.sockets import LOOPBACK
from flashvisor.lab import accel
from flashvisor.lab.rack import Rack, default_root
from flashvisor.lab.trial import connect, materials, power_on, run_site

if TYPE_CHECKING:
    from flashvisor.lab.server import Server

NAME = "try"
GUEST_LIMIT = 900.0  # seconds
READY_EXPECTED = 30.0  # seconds, under emulation
ANSWER_EXPECTED = 30.0  # seconds, under emulation, for the example's Debian guest
HTTP_PORT, SSH_PORT = 8080, 2222  # the example site's forwards


@click.command("try")
@click.option("--site", type=click.Path(path_type=Path), default=Path("examples/site.toml"), show_default=True)
def command(site: Path) -> None:
    """Build, power on a virtual server, run the example site."""
    cache, keyring, rack = open_cache(), open_keyring(), Rack(default_root())
    files = materials(cache, keyring, Path("build"))
    if not accel.is_known(rack.root):
        with timed("asking whether KVM boots a guest on this machine", accel.LIMIT):
            accel.kvm_boots(rack.root)
    with timed("powering on a virtual server", READY_EXPECTED):
        server = power_on(rack, NAME, files)
    names = run_site(server, keyring, site, progress)
    with connect(server, keyring) as client, timed(f"waiting for {' and '.join(names)} to answer", ANSWER_EXPECTED):
        wait_for_guests(client, names, GUEST_LIMIT)
    server.timeline()
    NodeBook.load(default_path()).use(NAME, parse_address(f"{LOOPBACK}:{server.api_port}"))
    click.echo("\nWhat every byte of the image is for (flashvisor ledger):\n")
    show_ledger(files.ledger)
    _show_timeline(server)
    _show_next(server, files.ssh_key)


def _show_timeline(server: Server) -> None:
    click.echo("\nSeconds since power-on:\n")
    print_table(["stage", "seconds"], [[moment.name, f"{moment.seconds:.1f}"] for moment in server.timeline()])


def _show_next(server: Server, key: Path) -> None:
    click.echo("\nThe guests, from here:")
    if http := server.forwards.get(HTTP_PORT):
        click.echo(f"  hello    curl http://{LOOPBACK}:{http}/")
    if ssh := server.forwards.get(SSH_PORT):
        click.echo(f"  debian   ssh -i {key} -p {ssh} -o StrictHostKeyChecking=no admin@{LOOPBACK}")
    click.echo(
        f"""

What to try next (the server is called '{NAME}', and is the default of these commands):
  flashvisor node show               the server, its disks, and which protections are on
  flashvisor guest list              the guests
  flashvisor guest console hello     a guest's serial console; Ctrl-] leaves it
  flashvisor lab power {NAME} off       pull the plug; `on` again, and the guests come back
  flashvisor lab console {NAME}         the server's own serial console
  flashvisor lab down {NAME}            take it out of the rack"""
    )
