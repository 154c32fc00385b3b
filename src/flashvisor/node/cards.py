"""Guests' network cards with everything resolved: for the hypervisor, and for cloud-init. Pure.

Example::

    resolve_cards(site, "web")[0].bridge    # "br-inside"
"""

from __future__ import annotations

from ipaddress import IPv6Interface, IPv6Network
from typing import TYPE_CHECKING

from flashvisor.guests.domain import Card
from flashvisor.guests.seed import SeedCard
from flashvisor.model.names import nic_mac, tap_name
from flashvisor.model.wiring import bridge_of

if TYPE_CHECKING:
    from flashvisor.model.site import Nic, Site


def resolve_cards(site: Site, name: str) -> tuple[Card, ...]:
    """Returns a guest's cards, each with its bridge, MAC address, VLANs, and the name of the server's end."""
    return tuple(
        Card(
            bridge=bridge_of(site, nic.network),
            mac=nic_mac(site.node.name, name, index, nic),
            target=tap_name(name, index),
            vlan=site.network[nic.network].vlan,
            trunk=nic.trunk,
        )
        for index, nic in enumerate(site.guest[name].nics)
    )


def seed_cards(site: Site, name: str) -> tuple[SeedCard, ...]:
    """Returns what cloud-init in a guest is told of its cards."""
    return tuple(
        SeedCard(nic_mac(site.node.name, name, index, nic), address6=_address6(site, nic))
        for index, nic in enumerate(site.guest[name].nics)
    )


def _address6(site: Site, nic: Nic) -> IPv6Interface | None:
    """The IPv6 address that a guest gives itself, where the site says it: networkd hands none out by DHCP."""
    net = site.network[nic.network].subnet6
    if nic.address6 is None or net is None:
        return None
    return IPv6Interface((nic.address6, IPv6Network(net).prefixlen))
