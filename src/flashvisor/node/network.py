"""The server's networks: from a site to networkd's unit files and one nft ruleset. Pure.

Owns bridges, leases, uplink, firewall and forwards, as text. Does not own putting them in force (reconcile.py)::

    wish = plan_network(site, api_port=443, first_card="52:54:00:00:00:01")
    wish.units["50-fv-inside.netdev"]
    wish.ruleset
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.model.names import Lease, assign_addresses, bridge_name, derive_mac, gateway, subnet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.model.site import Site, Uplink

TABLE = "inet flashvisor"
BRIDGES = '"br-*"'  # nft's wildcard for every bridge of ours
OTHER_CARDS = "45-fv-other.network"
UPLINK = "40-fv-uplink.network"  # sorts before the image's own unit for uplinks, and so wins (systemd.network(5))


@dataclass(frozen=True)
class NetworkPlan:
    """All that makes a site's networks: unit files by name, the ruleset, the bridges' names."""

    units: dict[str, str]
    ruleset: str
    bridges: tuple[str, ...]


def plan_network(site: Site | None, *, api_port: int, first_card: str | None) -> NetworkPlan:
    """Returns what the site's networks need; without a site, only the firewall around the API.

    Args:
        site: A site that `check_site` accepts.
        api_port: The API's TCP port.
        first_card: MAC address of the card that takes a fixed uplink address when the site names no card.
    """
    if site is None:
        return NetworkPlan(units={}, ruleset=ruleset(None, (), api_port), bridges=())
    leases = assign_addresses(site)
    units: dict[str, str] = dict(_uplink_units(site.node.uplink, first_card))
    for name in sorted(site.network):
        units[f"50-fv-{name}.netdev"] = _netdev(site.node.name, name)
        units[f"50-fv-{name}.network"] = _network(site, name, [lease for lease in leases if lease.network == name])
    bridges = tuple(bridge_name(name) for name in sorted(site.network))
    return NetworkPlan(units=units, ruleset=ruleset(site, leases, api_port), bridges=bridges)


def ruleset(site: Site | None, leases: tuple[Lease, ...], api_port: int) -> str:
    """Returns the whole ruleset as nft text (nft(8)); loading it replaces the one in force in one transaction.

    Guests reach out, never the server's API and never another network; the world reaches forwarded ports only.
    """
    lines = [
        # Adding before deleting makes the deletion succeed on the first load too.
        f"add table {TABLE}",
        f"delete table {TABLE}",
        f"table {TABLE} {{",
        *_chain("input", "filter hook input priority filter; policy drop;", _input_rules(api_port)),
        *_chain("forward", "filter hook forward priority filter; policy drop;", _forward_rules(site)),
        *_chain("prerouting", "nat hook prerouting priority dstnat; policy accept;", _dnat_rules(site, leases)),
        *_chain("postrouting", "nat hook postrouting priority srcnat; policy accept;", _snat_rules(site)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _chain(name: str, head: str, rules: Iterator[str]) -> list[str]:
    return [f"  chain {name} {{", f"    type {head}", *(f"    {rule}" for rule in rules), "  }"]


def _input_rules(api_port: int) -> Iterator[str]:
    yield "ct state { established, related } accept"
    yield "ct state invalid drop"
    yield 'iifname "lo" accept'
    yield "meta l4proto { icmp, ipv6-icmp } accept"
    yield f"iifname {BRIDGES} udp dport 67 accept"
    yield f"iifname != {BRIDGES} udp dport {{ 68, 546 }} accept"
    yield f"iifname != {BRIDGES} tcp dport {api_port} accept"


def _forward_rules(site: Site | None) -> Iterator[str]:
    yield "ct state { established, related } accept"
    yield "ct state invalid drop"
    yield f"iifname != {BRIDGES} ct status dnat accept"
    for name, network in sorted(site.network.items()) if site else ():
        if network.nat:
            yield f'iifname "{bridge_name(name)}" oifname != {BRIDGES} accept'


def _dnat_rules(site: Site | None, leases: tuple[Lease, ...]) -> Iterator[str]:
    first = {lease.guest: lease.address for lease in leases if lease.index == 0}
    for name, guest in sorted(site.guest.items()) if site else ():
        for forward in guest.forwards:
            match = f"iifname != {BRIDGES} {forward.protocol} dport {forward.port}"
            yield f"{match} dnat ip to {first[name]}:{forward.to}"


def _snat_rules(site: Site | None) -> Iterator[str]:
    for _, network in sorted(site.network.items()) if site else ():
        if network.nat:
            yield f"ip saddr {subnet(network)} oifname != {BRIDGES} masquerade"


def _uplink_units(uplink: Uplink, first_card: str | None) -> Iterator[tuple[str, str]]:
    fixed = uplink.address != "dhcp"
    card = uplink.mac or (first_card if fixed else None)
    if card is None and not uplink.dns:
        return
    match = f"MACAddress={card}" if card else "Type=ether\nKind=!*"
    lines = [f"[Match]\n{match}\n", "[Network]"]
    lines += [f"Address={uplink.address}"] if fixed else ["DHCP=yes"]
    lines += [f"Gateway={uplink.gateway}"] if uplink.gateway else []
    lines += [f"DNS={address}" for address in uplink.dns]
    yield UPLINK, "\n".join(lines) + "\n"
    if card:
        # Only the named card belongs to the management network: the others keep still.
        quiet = "[Network]\nDHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n[Link]\nRequiredForOnline=no\n"
        yield OTHER_CARDS, f"[Match]\nType=ether\nKind=!*\n\n{quiet}"


def _netdev(node: str, name: str) -> str:
    # A slash cannot stand in a guest's name, so a bridge's address is never a guest's.
    mac = derive_mac(node, f"network/{name}", 0)
    device = f"[NetDev]\nName={bridge_name(name)}\nKind=bridge\nMACAddress={mac}\n"
    return f"{device}\n[Bridge]\nSTP=no\nForwardDelaySec=0\nMulticastSnooping=no\n"


def _network(site: Site, name: str, leases: list[Lease]) -> str:
    network = site.network[name]
    lines = [
        f"[Match]\nName={bridge_name(name)}\n",
        "[Link]\nRequiredForOnline=no\n",
        # The bridge has no carrier until a guest runs, and shall have its address all the same.
        f"[Network]\nAddress={gateway(network)}",
        "ConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes",
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\nDHCPServer=yes\n",
        f"[DHCPServer]\nEmitRouter={_yes(network.nat)}\nEmitDNS={_yes(network.nat)}\nEmitNTP=no\nPersistLeases=no",
    ]
    # Without a word of the site, networkd hands on what the uplink's own DHCP server told it.
    lines += [f"DNS={' '.join(site.node.uplink.dns)}"] if network.nat and site.node.uplink.dns else []
    text = "\n".join(lines) + "\n"
    for lease in leases:
        text += f"\n[DHCPServerStaticLease]\nMACAddress={lease.mac}\nAddress={lease.address}\n"
    return text


def _yes(value: bool) -> str:
    return "yes" if value else "no"
