"""What each guest's card may send and receive, as nft text: the part that bridges see. Pure.

Owns `table bridge`: spoofed addresses, rates, guests' firewalls, ports that are kept apart. It stands in the bridge's
own hooks, since the image's kernel hands bridged frames to no other table (BRIDGE_NETFILTER is off)::

    "".join(bridge_table(site, leases, api_port=443))

A card is known by the server's end of it, its tap. Source: nft(8); net/bridge/br_input.c for the frames that pass no
other hook than `input`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from flashvisor.model.names import bridge_mac, gateway, gateway6, link_local, nic_mac, tap_name
from flashvisor.model.site import Allow, Kind
from flashvisor.model.wiring import bytes_per_second, kind_of, port_range
from flashvisor.node.firewall import TABLE, by_family, chain, interfaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.model.names import Lease
    from flashvisor.model.site import Guest, Network, Nic, Rule, Site

TAPS = '"tap*"'  # nft's wildcard for the server's end of every card
EARLY = -300  # priority before conntrack (-200): what is dropped here costs no entry of its table
CONTROL = "ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00"  # IEEE 802.1Q, table 8-1: not forwarded by bridges
# Bytes that may pass at once. A segment of 64 KiB is one packet to the kernel until it reaches a wire.
LEAST_BURST = 256 << 10
NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query } accept"


@dataclass(frozen=True)
class _Tap:
    """A card with all that decides over it; `others6` are addresses in its network that are somebody else's."""

    name: str
    mac: str
    nic: Nic
    guest: Guest
    network: Network
    lease: Lease | None
    others6: tuple[IPv6Address, ...]

    @property
    def bridged(self) -> bool:
        return kind_of(self.network) is Kind.BRIDGE


def bridge_table(site: Site | None, leases: tuple[Lease, ...], *, api_port: int) -> list[str]:
    """Returns the lines of the table; none without a guest's card.

    Args:
        site: A site that `check_site` accepts.
        leases: Its guests' addresses.
        api_port: The API's TCP port, which guests on the server's own network do not reach either.
    """
    taps = _taps(site, leases) if site else []
    if not taps:
        return []
    received = [(tap, rules) for tap in taps if (rules := list(_to_guest(tap)))]
    lines = [f"table bridge {TABLE} {{"]
    for tap in taps:
        lines += chain(f"from-{tap.name}", "", _from_guest(tap))
    for tap, rules in received:
        lines += chain(f"to-{tap.name}", "", rules)
    sent = ", ".join(f'"{tap.name}" : jump from-{tap.name}' for tap in taps)
    # A tap that no site names is nobody's.
    prerouting = [
        f"iifname vmap {{ {sent} }}",
        f"iifname != {interfaces(tap.name for tap in taps)} iifname {TAPS} drop",
    ]
    lines += chain("prerouting", f"filter hook prerouting priority {EARLY}; policy accept;", prerouting)
    lines += chain("input", f"filter hook input priority {EARLY}; policy accept;", _input(taps, api_port))
    lines += chain("forward", "filter hook forward priority filter; policy accept;", _forward(taps))
    if received:
        got = ", ".join(f'"{tap.name}" : jump to-{tap.name}' for tap, _ in received)
        head = "filter hook postrouting priority filter; policy accept;"
        lines += chain("postrouting", head, [f"oifname vmap {{ {got} }}"])
    return [*lines, "}"]


def _taps(site: Site, leases: tuple[Lease, ...]) -> list[_Tap]:
    known = {(lease.guest, lease.index): lease for lease in leases}
    return [
        _Tap(
            name=tap_name(name, index),
            mac=nic_mac(site.node.name, name, index, nic),
            nic=nic,
            guest=guest,
            network=site.network[nic.network],
            lease=known.get((name, index)),
            others6=_others6(site, nic),
        )
        for name, guest in sorted(site.guest.items())
        for index, nic in enumerate(guest.nics)
    ]


def _others6(site: Site, nic: Nic) -> tuple[IPv6Address, ...]:
    own6 = gateway6(site.network[nic.network])
    if own6 is None:
        return ()
    cards = (each for guest in site.guest.values() for each in guest.nics if each.network == nic.network)
    guests = {IPv6Address(each.address6) for each in cards if each.address6 and each is not nic}
    return (own6.ip, link_local(bridge_mac(site.node.name, nic.network)), *sorted(guests))


def _from_guest(tap: _Tap) -> Iterator[str]:
    if not tap.nic.spoofing:
        yield f"ether saddr != {tap.mac} drop"
        yield f"arp saddr ether != {tap.mac} drop"
    if tap.nic.rate_out:
        yield _limit(tap.nic.rate_out)
    if not tap.nic.spoofing and not tap.nic.trunk:
        yield from _own_addresses(tap)


def _own_addresses(tap: _Tap) -> Iterator[str]:
    """On a bridge, the site may say which addresses are the guest's, or leave it to the network behind."""
    four = str(tap.lease.address) if tap.lease else tap.nic.address
    # Inside, a guest makes itself addresses as well (SLAAC), and may prefer them to the one that the site says.
    six = tap.network.subnet6 or tap.nic.address6
    if not tap.bridged:
        # The server gives the addresses, and is the router: guests are neither.
        yield "udp sport { 67, 547 } drop"
        yield "icmpv6 type { nd-router-advert, nd-redirect } drop"
    if four is not None:
        yield f"arp saddr ip != {{ 0.0.0.0, {four} }} drop"
        yield "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept"
        yield f"ip saddr != {four} drop"
    if tap.others6:
        yield f"ip6 saddr {{ {', '.join(str(each) for each in tap.others6)} }} drop"
        # The target of a neighbour advertisement stands behind 8 bytes of ICMPv6 (RFC 4861, 4.4).
        targets = ", ".join(hex(int(each)) for each in tap.others6)
        yield f"icmpv6 type nd-neighbor-advert @th,64,128 {{ {targets} }} drop"
    if six is not None or not tap.bridged:
        yield f"ip6 saddr != {{ ::, fe80::/10{f', {six}' if six else ''} }} drop"
    if four is not None:
        yield "ether type != { arp, ip, ip6 } drop"


def _to_guest(tap: _Tap) -> Iterator[str]:
    if tap.nic.rate_in:
        yield _limit(tap.nic.rate_in)
    if tap.guest.firewall is None:
        return
    yield "meta protocol arp accept"  # with a tag or without: a trunk's frames have theirs beside them
    yield "ct state { established, related } accept"
    yield NEIGHBOURS
    yield "udp sport 67 udp dport 68 accept"
    if not tap.bridged:
        # The server itself asks whether the guest answers. What it passes on is not its own.
        yield f"ip saddr {gateway(tap.network).ip} ct status & dnat == 0 accept"
    for rule in tap.guest.firewall:
        yield from _allowed(rule)
    yield "drop"


def _allowed(rule: Rule) -> Iterator[str]:
    # By the first packet's source, which is the caller's also where the server has put in its own.
    four, six = by_family(rule.from_)
    what = _what(rule)
    if four == "":
        yield f"{what} accept"
        return
    if four is not None:
        yield f"ct original ip saddr {four} {what} accept"
    if six is not None:
        yield f"ct original ip6 saddr {six} {what} accept"


def _what(rule: Rule) -> str:
    if rule.allow is Allow.ALL:
        return "meta protocol { ip, ip6 }"
    if rule.allow is Allow.ICMP:
        return "meta l4proto { icmp, ipv6-icmp }"
    if rule.port is None:
        return f"meta l4proto {rule.allow}"
    ports = port_range(rule.port)
    return f"{rule.allow} dport {ports[0]}" + (f"-{ports[-1]}" if len(ports) > 1 else "")


def _limit(rate: str) -> str:
    speed = bytes_per_second(rate)
    return f"limit rate over {speed} bytes/second burst {max(LEAST_BURST, speed // 10)} bytes drop"


def _input(taps: list[_Tap], api_port: int) -> Iterator[str]:
    # Most of these come here without passing `prerouting`, and the bridge learns addresses from them, too.
    yield f"iifname {TAPS} {CONTROL} drop"
    neighbours = [tap.name for tap in taps if tap.bridged]
    if neighbours:
        yield f"iifname {interfaces(neighbours)} tcp dport {api_port} drop"


def _forward(taps: list[_Tap]) -> Iterator[str]:
    yield f"{CONTROL} drop"
    apart: dict[str, list[str]] = {}
    for tap in taps:
        if tap.network.isolated_ports:
            apart.setdefault(tap.nic.network, []).append(tap.name)
    for names in apart.values():
        yield f"iifname {interfaces(names)} oifname {interfaces(names)} drop"
