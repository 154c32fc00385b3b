"""The server's own firewall, NAT and forwards, as nft text: what is routed, and what reaches the server itself. Pure.

Owns `table inet`. What passes a bridge without being routed is tapfilter.py's::

    "".join(inet_table(site, leases, api_port=443))

Guests reach out, never the server's API and never another network; the world reaches forwarded ports only, and so do
guests of NAT networks, by the server's own address. Source: nft(8).
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TYPE_CHECKING

from flashvisor.model.names import bridge_name, gateway, gateway6, subnet
from flashvisor.model.site import Kind
from flashvisor.model.wiring import INSIDE, first_inside, kind_of, port_range, sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flashvisor.model.names import Lease
    from flashvisor.model.site import Forward, Guest, Network, Nic, Site

TABLE = "flashvisor"
BRIDGES = f'"{INSIDE}*"'  # nft's wildcard for every bridge in whose subnet the server gives addresses
DNS_PORT = 53
# From one network to the server's name server; it is our own, and shares a processor with the API.
QUERIES = "limit rate 200/second burst 200 packets"
CALLS = "limit rate 20/second burst 20 packets"
ULA = IPv6Network("fc00::/7")  # RFC 4193: nobody outside can answer to it, so it is translated


def inet_table(site: Site | None, leases: tuple[Lease, ...], *, api_port: int) -> list[str]:
    """Returns the lines of the table; without a site, only the firewall around the API.

    Args:
        site: A site that `check_site` accepts.
        leases: Its guests' addresses.
        api_port: The API's TCP port.
    """
    inside = {} if site is None else {name: net for name, net in sorted(site.network.items()) if net.subnet}
    guests = {} if site is None else dict(sorted(site.guest.items()))
    return [
        f"table inet {TABLE} {{",
        *chain("input", "filter hook input priority filter; policy drop;", _input(inside, api_port)),
        *chain("forward", "filter hook forward priority filter; policy drop;", _forward(inside, guests)),
        *chain("prerouting", "nat hook prerouting priority dstnat; policy accept;", _dnat(site, inside, leases)),
        *chain("postrouting", "nat hook postrouting priority srcnat; policy accept;", _snat(inside)),
        "}",
    ]


def chain(name: str, head: str, rules: Iterable[str]) -> list[str]:
    """Returns the lines of a chain; `head` is empty for one that is only jumped to."""
    return [f"  chain {name} {{", *([f"    type {head}"] if head else []), *(f"    {rule}" for rule in rules), "  }"]


def interfaces(names: Iterable[str]) -> str:
    """Returns interfaces as a set of nft's."""
    return "{ " + ", ".join(f'"{name}"' for name in names) + " }"


def by_family(wish: str | tuple[str, ...]) -> tuple[str | None, str | None]:
    """Returns the networks of a `from` as nft's sets of IPv4 and IPv6: "" for everywhere, None for nowhere."""
    found = [ip_network(text) for text in sources(wish)]
    if not found:
        return "", ""
    # Collapsed, for nft refuses a set whose members hold one another.
    four = collapse_addresses(net for net in found if isinstance(net, IPv4Network))
    six = collapse_addresses(net for net in found if isinstance(net, IPv6Network))
    return _set(four), _set(six)


def routed6(network: Network) -> bool:
    """Tells whether guests' IPv6 addresses are known outside: they are routed as they are, and not translated."""
    return network.subnet6 is not None and not IPv6Network(network.subnet6).subnet_of(ULA)


def _set(nets: Iterable[IPv4Network | IPv6Network]) -> str | None:
    texts = [str(net) for net in nets]
    return "{ " + ", ".join(texts) + " }" if texts else None


def _input(inside: dict[str, Network], api_port: int) -> Iterator[str]:
    yield "ct state { established, related } accept"
    yield "ct state invalid drop"
    yield 'iifname "lo" accept'
    yield "meta l4proto { icmp, ipv6-icmp } accept"
    yield f"iifname {BRIDGES} udp dport 67 accept"
    for name, network in inside.items():
        # Each network asks at its own address: the names of another one are none of its business.
        asked = f'iifname "{bridge_name(name)}" ip daddr {gateway(network).ip}'
        yield f"{asked} udp dport {DNS_PORT} {QUERIES} accept"
        yield f"{asked} tcp dport {DNS_PORT} {CALLS} accept"
    yield f"iifname != {BRIDGES} udp dport {{ 68, 546 }} accept"
    yield f"iifname != {BRIDGES} tcp dport {api_port} accept"


def _forward(inside: dict[str, Network], guests: dict[str, Guest]) -> Iterator[str]:
    yield "ct state { established, related } accept"
    yield "ct state invalid drop"
    # Only what the rules below have let in was translated.
    yield "ct status dnat accept"
    for name, network in inside.items():
        if kind_of(network) is Kind.NAT:
            yield f'iifname "{bridge_name(name)}" oifname != {BRIDGES} accept'
    for guest in guests.values():
        for nic in guest.nics:
            if _is_asked_directly(guest, nic, inside):
                out = f'oifname "{bridge_name(nic.network)}"'
                yield f"iifname != {BRIDGES} {out} ip6 daddr {nic.address6} accept"


def _is_asked_directly(guest: Guest, nic: Nic, inside: dict[str, Network]) -> bool:
    """A guest with a firewall of its own is reached at an address that the world knows; the firewall decides."""
    network = inside.get(nic.network)
    if network is None or guest.firewall is None or nic.address6 is None:
        return False
    return routed6(network) and kind_of(network) is Kind.NAT


def _dnat(site: Site | None, inside: dict[str, Network], leases: tuple[Lease, ...]) -> Iterator[str]:
    if site is None:
        return
    shut = [bridge_name(name) for name, network in inside.items() if kind_of(network) is Kind.ISOLATED]
    if shut:
        yield f"iifname {interfaces(shut)} accept"
    for name, guest in sorted(site.guest.items()):
        index = first_inside(site, guest.nics)
        if index is None:
            continue
        lease = next(each for each in leases if (each.guest, each.index) == (name, index))
        for forward in guest.forwards:
            yield from _one_forward(forward, str(lease.address), guest.nics[index].address6)


def _one_forward(forward: Forward, address: str, address6: str | None) -> Iterator[str]:
    ports = port_range(forward.port)
    # A range keeps its numbers: the kernel would deal them out at random.
    to = "" if isinstance(forward.port, str) else f":{forward.to or forward.port}"
    dport = str(ports[0]) if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"
    four, six = by_family(forward.from_)
    local = f"fib daddr type local {forward.protocol} dport {dport}"
    if four is not None:
        limit = f"ip saddr {four} " if four else ""
        yield f"meta nfproto ipv4 {limit}{local} dnat ip to {address}{to}"
    if six is not None and address6:
        limit = f"ip6 saddr {six} " if six else ""
        yield f"meta nfproto ipv6 {limit}{local} dnat ip6 to [{address6}]{to}"


def _snat(inside: dict[str, Network]) -> Iterator[str]:
    for network in inside.values():
        nat, own6 = kind_of(network) is Kind.NAT, gateway6(network)
        net = subnet(network)
        # A guest that is reached through a forward answers through the server: also to its own neighbours, and where
        # the server is nobody's router.
        near = f"ip saddr {net} " if nat else ""
        yield f"{near}ip daddr {net} ct status dnat masquerade"
        if nat:
            yield f"ip saddr {net} oifname != {BRIDGES} masquerade"
        if own6:
            near = f"ip6 saddr {own6.network} " if nat else ""
            yield f"{near}ip6 daddr {own6.network} ct status dnat masquerade"
            if nat and not routed6(network):
                yield f"ip6 saddr {own6.network} oifname != {BRIDGES} masquerade"
