"""The server's networks: from a site to networkd's unit files, one nft ruleset, and what names guests have. Pure.

Owns what belongs together. The texts are netunits.py's (networkd), firewall.py's (routed) and tapfilter.py's (bridged);
putting them in force is machine.py's::

    wish = plan_network(site, api_port=443, first_card="52:54:00:00:00:01")
    wish.units["50-fv-inside.netdev"]
    wish.ruleset
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_interface
from typing import TYPE_CHECKING

from flashvisor.model.names import Lease, assign_addresses, bridge_name, gateway
from flashvisor.model.site import Kind
from flashvisor.model.wiring import bond_name, bridged_uplinks, kind_of, management, uplink_bridge, vlan_name
from flashvisor.node.firewall import TABLE, inet_table
from flashvisor.node.netunits import FIRST_INSIDE, network_units
from flashvisor.node.tapfilter import bridge_table
from flashvisor.node.zones import Zone, domain_of

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from flashvisor.model.site import Site


@dataclass(frozen=True)
class NetworkPlan:
    """All that makes a site's networks.

    Args:
        units: networkd's files by name.
        ruleset: nft's text; loading it replaces the one in force in one transaction.
        bridges: The bridges in whose subnets the server gives addresses.
        devices: All interfaces that the units make, those bridges among them.
        zones: What names there are.
        resolvers: The site's own name servers; empty for what the uplink was told.
        uplink: The interface that the management network is on; "" for a card itself.
        fixed: The addresses that the site gives the server there, as the kernel writes them.
    """

    units: dict[str, str]
    ruleset: str
    bridges: tuple[str, ...]
    devices: tuple[str, ...] = ()
    zones: tuple[Zone, ...] = ()
    resolvers: tuple[str, ...] = ()
    uplink: str = ""
    fixed: tuple[str, ...] = ()


def plan_network(site: Site | None, *, api_port: int, first_card: str | None) -> NetworkPlan:
    """Returns what the site's networks need; without a site, only the firewall around the API.

    Args:
        site: A site that `check_site` accepts.
        api_port: The API's TCP port.
        first_card: MAC address of the card that takes a fixed uplink address when the site names no card.
    """
    if site is None:
        return NetworkPlan(units={}, ruleset=ruleset(None, (), api_port), bridges=())
    leases, uplink = assign_addresses(site), site.node.uplink
    bridges = tuple(bridge_name(name) for name, net in sorted(site.network.items()) if kind_of(net) is not Kind.BRIDGE)
    return NetworkPlan(
        units=network_units(site, leases, first_card=first_card),
        ruleset=ruleset(site, leases, api_port),
        bridges=bridges,
        devices=(*bridges, *_uplink_devices(site)),
        zones=tuple(_zones(site, leases)),
        resolvers=uplink.dns,
        uplink=_uplink(site),
        fixed=tuple(str(ip_interface(each)) for each in (uplink.address, uplink.address6) if "/" in each),
    )


def moves_uplink(before: NetworkPlan, after: NetworkPlan) -> bool:
    """Tells whether the server itself may be reached differently afterwards."""

    def uplink(plan: NetworkPlan) -> dict[str, str]:
        return {name: text for name, text in plan.units.items() if name < FIRST_INSIDE}

    return uplink(before) != uplink(after)


def ruleset(site: Site | None, leases: tuple[Lease, ...], api_port: int) -> str:
    """Returns the whole ruleset as nft text (nft(8)); loading it replaces the one in force in one transaction."""
    # Adding before deleting makes the deletion succeed on the first load too.
    lines = [f"{verb} table {family} {TABLE}" for family in ("inet", "bridge") for verb in ("add", "delete")]
    lines += inet_table(site, leases, api_port=api_port)
    lines += bridge_table(site, leases, api_port=api_port)
    return "\n".join(lines) + "\n"


def _uplink(site: Site) -> str:
    if site.node.uplink.vlan is not None:
        return vlan_name(site.node.uplink.vlan)
    ours = management(site)
    if ours in bridged_uplinks(site):
        return uplink_bridge(str(ours))
    return bond_name(site.node.uplink.bond) if site.node.uplink.bond else ""


def _uplink_devices(site: Site) -> list[str]:
    vlan = site.node.uplink.vlan
    names = [vlan_name(vlan)] if vlan is not None else []
    names += [uplink_bridge(uplink) for uplink in bridged_uplinks(site)]
    return names + [bond_name(name) for name in sorted(site.bond)]


def _zones(site: Site, leases: tuple[Lease, ...]) -> list[Zone]:
    zones = []
    for name, network in sorted(site.network.items()):
        if kind_of(network) is Kind.BRIDGE:
            continue
        names: dict[str, tuple[IPv4Address | IPv6Address, ...]] = {}
        for lease in leases:
            if lease.network == name:
                six = site.guest[lease.guest].nics[lease.index].address6
                found = (lease.address, IPv6Address(six)) if six else (lease.address,)
                names[lease.guest] = names.get(lease.guest, ()) + found
        world = kind_of(network) is Kind.NAT
        zones.append(Zone(listen=gateway(network).ip, domain=domain_of(name), names=names, world=world))
    return zones
