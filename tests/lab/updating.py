"""What update tests do with a server: put a release on it, watch its trial, see where its slots stand.

Example::

    installed = put(server, owner, releases, variants.another(2), "0.2")
    report = watch(server, owner, installed)
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from flashvisor.api import trial
from flashvisor.api.flashtypes import Installed, UpdateRequest
from flashvisor.cli.buildtools import open_cache
from flashvisor.flash.layout import PARTITIONS
from flashvisor.host import clock
from flashvisor.image.publication import Order, publish
from flashvisor.lab.trial import READY_LIMIT, connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.api.flashtypes import SlotsReport, UpdateStep
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

MEMORY = 2 << 30  # bytes
PROBATION = 120.0  # seconds; the kernel of a server that is to fail its trial counts them


def put(server: Server, owner: Keyring, releases: Path, image: Path, version: str) -> Installed:
    """Publishes an image and pushes it; returns once the server restarts into it."""
    publish(image, releases, owner, open_cache(), Order(version=version))
    return push(server, owner, releases)


def push(
    server: Server,
    owner: Keyring,
    releases: Path,
    *,
    force: bool = False,
    tell: Callable[[UpdateStep], None] = lambda _: None,
) -> Installed:
    """Pushes the newest release; returns once the server restarts into it. `tell` hears of each step meanwhile."""
    with connect(server, owner) as client:
        return client.update(UpdateRequest(told=clock.wall(), probation=PROBATION, force=force), releases, tell)


def watch(server: Server, owner: Keyring, installed: Installed) -> SlotsReport:
    """Waits until a release is committed; an error says why it failed."""
    return trial.watch(lambda: connect(server, owner), installed, PROBATION + trial.RESTART)


def slots(server: Server, owner: Keyring) -> SlotsReport:
    """Returns where the slots stand; the server reads them."""
    with connect(server, owner) as client:
        return client.slots(verify=True)


def wait_back(server: Server, owner: Keyring, running: str, since: int) -> SlotsReport:
    """Waits until a server is ready in a slot, whatever it started from in between."""
    for _ in clock.ticks(1.0, READY_LIMIT * 2):
        server.wait_for("stage=ready", READY_LIMIT, since=since)
        report = slots(server, owner)
        if report.running == running:
            return report
    raise AssertionError(f"slot {running} never ran: {report}")


def factory(server: Server) -> str:
    """The digest of factory's bytes, read from outside."""
    region = PARTITIONS["factory"]
    with server.paths.flash.open("rb") as flash:
        flash.seek(region.start)
        return hashlib.sha256(flash.read(region.size)).hexdigest()
