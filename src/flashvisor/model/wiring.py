"""What a site's networks hang on: kinds, bridges, uplinks, VLANs, ports and rates. Pure.

Owns the names of the interfaces that a site makes on its server, apart from guests' taps (names.py). Owns no file and
no rule (node/netunits.py, node/firewall.py)::

    kind_of(site.network["dmz"])        # Kind.BRIDGE
    bridge_of(site, "dmz")              # "ub-lan": the bridge over bond lan
    uplink_vlans(site, "lan")           # (10, 20)

Interfaces: `br-NETWORK` for a subnet of the server's, `bo-BOND`, `ub-BOND` and `uc-MAC` for the bridge over a bond or a
card, `uv-VLAN` for the management network behind a tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.model.names import bridge_name
from flashvisor.model.site import Kind

if TYPE_CHECKING:
    from flashvisor.model.site import Network, Nic, Site

INSIDE = "br-"  # begins the names of bridges in whose subnets the server gives addresses
PREFIXES = (INSIDE, "bo-", "ub-", "uc-", "uv-")  # of every interface that a site makes, and of no other
RATE_UNITS = {"kbit": 1_000, "Mbit": 1_000_000, "Gbit": 1_000_000_000}  # bits
BYTE = 8  # bits


def kind_of(network: Network) -> Kind:
    """Returns a network's kind; older site files say it by `nat`."""
    if network.kind is not None:
        return network.kind
    return Kind.ISOLATED if network.nat is False else Kind.NAT


def is_card(uplink: str) -> bool:
    """Tells whether an uplink is a card, by its MAC address; else it is a bond's name."""
    return ":" in uplink


def management(site: Site) -> str | None:
    """Returns what the management network is on: a bond, a card, or None for whichever card has a link."""
    return site.node.uplink.bond or site.node.uplink.mac


def uplink_of(site: Site, network: Network) -> str | None:
    """Returns what a bridged network is on: a bond's name or a card's MAC address; None if nothing names it."""
    return network.uplink or management(site)


def uplink_mac(site: Site, uplink: str) -> str:
    """Returns the MAC address of a card or a bond, which the bridge over it has as well."""
    return uplink if is_card(uplink) else site.bond[uplink].cards[0]


def bond_name(bond: str) -> str:
    """Returns the name of a bond's interface."""
    return f"bo-{bond}"


def uplink_bridge(uplink: str) -> str:
    """Returns the name of the bridge over a card or a bond."""
    return f"uc-{uplink.replace(':', '')}" if is_card(uplink) else f"ub-{uplink}"


def vlan_name(vlan: int) -> str:
    """Returns the name of the interface of a tagged management network."""
    return f"uv-{vlan}"


def bridge_of(site: Site, name: str) -> str:
    """Returns the bridge that guests' cards in a network are ports of.

    Raises:
        ValueError: nothing names the network's uplink; `check_site` has refused such a site before.
    """
    network = site.network[name]
    if kind_of(network) is not Kind.BRIDGE:
        return bridge_name(name)
    uplink = uplink_of(site, network)
    if uplink is None:
        raise ValueError(f"network {name} has no uplink")
    return uplink_bridge(uplink)


def bridged_uplinks(site: Site) -> tuple[str, ...]:
    """Returns the uplinks that have a bridge over them, sorted."""
    found = {uplink_of(site, network) for network in site.network.values() if kind_of(network) is Kind.BRIDGE}
    return tuple(sorted(filter(None, found)))


def uplink_vlans(site: Site, uplink: str) -> tuple[int, ...]:
    """Returns the VLANs that an uplink's bridge carries with their tags, sorted."""
    on_it = {
        name
        for name, network in site.network.items()
        if kind_of(network) is Kind.BRIDGE and uplink_of(site, network) == uplink
    }
    found = {site.network[name].vlan for name in on_it}
    found |= {vlan for guest in site.guest.values() for nic in guest.nics if nic.network in on_it for vlan in nic.trunk}
    if management(site) == uplink:
        found.add(site.node.uplink.vlan)
    return tuple(sorted(vlan for vlan in found if vlan is not None))


def first_inside(site: Site, nics: tuple[Nic, ...]) -> int | None:
    """Returns the number of the first card in a subnet of the server's: where forwards lead and probes ask."""
    inside = (
        index
        for index, nic in enumerate(nics)
        if nic.network in site.network and kind_of(site.network[nic.network]) is not Kind.BRIDGE
    )
    return next(inside, None)


def port_range(port: int | str) -> range:
    """Returns the ports that a number or a range stands for; empty if a range ends before it begins."""
    first, _, last = str(port).partition("-")
    return range(int(first), int(last or first) + 1)


def sources(wish: str | tuple[str, ...]) -> tuple[str, ...]:
    """Returns the networks of a `from` as a tuple; empty for everywhere."""
    return (wish,) if isinstance(wish, str) else wish


def bytes_per_second(rate: str) -> int:
    """Returns a rate such as "100 Mbit/s" in bytes per second."""
    digits = "".join(letter for letter in rate if letter.isdigit())
    return int(digits) * RATE_UNITS[rate[len(digits) :].strip().removesuffix("/s")] // BYTE
