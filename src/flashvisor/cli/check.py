"""`flashvisor check`: whether a site file is right, without touching a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from flashvisor.api.bundle import read_site
from flashvisor.cli.output import print_fields, print_json
from flashvisor.cli.session import json_option
from flashvisor.model.names import Lease, assign_addresses, gateway
from flashvisor.model.site import Kind
from flashvisor.model.size import parse_size, show_size
from flashvisor.model.startorder import turn_in_words
from flashvisor.model.wiring import kind_of, uplink_of

if TYPE_CHECKING:
    from flashvisor.api.bundle import SiteSource
    from flashvisor.model.site import Guest, Network, Site


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a site has, in one line."""

    kind: str
    name: str
    summary: str


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a site file that is right says. A wrong one gives an ErrorReport instead."""

    file: str
    things: tuple[Thing, ...]


@click.command("check")
@click.argument("site", type=click.Path(path_type=Path), metavar="SITE")
@json_option
def command(site: Path, as_json: bool) -> None:
    """Check the site file SITE without touching a server."""
    source = read_site(site)
    report = CheckReport(file=str(site), things=describe(source))
    if as_json:
        print_json(report)
        return
    print_fields((f"{thing.kind} {thing.name}", thing.summary) for thing in report.things)
    click.echo(f"{site} is right.")


def describe(source: SiteSource) -> tuple[Thing, ...]:
    """Returns what a checked site has, in the order of its tables."""
    site = source.site
    leases = assign_addresses(site)
    things = [Thing(kind="node", name=site.node.name, summary=f"uplink {site.node.uplink.address}")]
    for name, storage in site.storage.items():
        disk = f"the disk with serial {storage.serial}" if storage.serial else storage.device
        mirror = f"a mirror of the disks with serials {' and '.join(storage.raid1)}" if storage.raid1 else ""
        things.append(Thing(kind="storage", name=name, summary=disk or mirror or f"NFS: {storage.nfs}"))
    for name, network in site.network.items():
        things.append(Thing(kind="network", name=name, summary=_network(site, network)))
    for name, path in source.images.items():
        things.append(Thing(kind="image", name=name, summary=f"{path}, {show_size(path.stat().st_size)}"))
    for name, guest in site.guest.items():
        things.append(Thing(kind="guest", name=name, summary=_guest(site, name, guest, leases)))
    return tuple(things)


def _network(site: Site, network: Network) -> str:
    kind = kind_of(network)
    if kind is Kind.BRIDGE:
        vlan = f", VLAN {network.vlan}" if network.vlan else ""
        return f"bridge on {uplink_of(site, network)}{vlan}"
    subnets = " and ".join(filter(None, (network.subnet, network.subnet6)))
    return f"{subnets}, server {gateway(network).ip}, {'NAT' if kind is Kind.NAT else 'no way out'}"


def _guest(site: Site, name: str, guest: Guest, leases: tuple[Lease, ...]) -> str:
    parts = [f"image {guest.image}", show_size(parse_size(guest.memory)), f"{guest.cpus} CPU"]
    if guest.disk:
        parts.append(f"disk {show_size(parse_size(guest.disk))}")
    parts += [f"{lease.address} in {lease.network}" for lease in leases if lease.guest == name]
    parts += [f"{forward.protocol} {forward.port} leads to {forward.to or forward.port}" for forward in guest.forwards]
    if not guest.autostart:
        parts.append(f"not started by {site.node.name} itself")
    elif turn_in_words(guest):
        parts.append(f"started {turn_in_words(guest)}")
    return ", ".join(parts)
