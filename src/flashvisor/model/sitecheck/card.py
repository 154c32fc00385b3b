"""Checks of guests' cards, forwards and firewalls."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from flashvisor.errors import ConflictError, DuplicateMacError, UnknownReferenceError, WrongTypeError
from flashvisor.model.names import gateway, gateway6, nic_mac
from flashvisor.model.problem import did_you_mean
from flashvisor.model.site import Allow, Kind, Protocol
from flashvisor.model.sitecheck.addresses import read_address, read_address6, without_zone
from flashvisor.model.sitecheck.claims import claim
from flashvisor.model.sitecheck.uplink import bonded, is_group
from flashvisor.model.wiring import bytes_per_second, first_inside, kind_of, port_range, sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flashvisor.model.problem import Problems
    from flashvisor.model.site import Forward, Nic, Rule, Site

API_PORT = 443  # TCP: the server's own
LAST_PORT = 65_535
MOST_FORWARDED = 4096  # ports of one range
LEAST_RATE = 8_000  # bytes per second: 64 kbit/s, where a full frame still passes every second
MOST_RATE = 5_000_000_000  # bytes per second: 40 Gbit/s; the kernel counts a bucket in nanoseconds times bytes


@dataclass
class _Claims:
    macs: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


def check_cards(site: Site, subnets: dict[str, IPv4Network], found: Problems) -> None:
    """Checks all guests' cards: addresses, networks, VLANs, rates, doubles."""
    claims = _Claims(macs={mac: f"bond.{bond}" for mac, bond in bonded(site).items()})
    if site.node.uplink.mac is not None:
        claims.macs[site.node.uplink.mac] = "node.uplink"
    for path, name, index, nic in _each_card(site):
        mac = nic_mac(site.node.name, name, index, nic)
        claim(claims.macs, mac, path, DuplicateMacError, f"the MAC address {mac}", found)
        if is_group(mac):
            found.add(WrongTypeError, f'{path}.mac: expected the address of one card, got "{mac}" (IEEE 802: a group)')
        for key, rate in (("rate_in", nic.rate_in), ("rate_out", nic.rate_out)):
            if rate is not None and not LEAST_RATE <= bytes_per_second(rate) <= MOST_RATE:
                found.add(WrongTypeError, f'{path}.{key}: expected 64 kbit/s to 40 Gbit/s, got "{rate}"')
        if nic.network not in site.network:
            what = f'{path}.network: no network "{nic.network}" is declared'
            found.add(UnknownReferenceError, what, step=did_you_mean(nic.network, site.network))
            continue
        _trunk(site, path, nic, found)
        _address4(site, path, nic, subnets, claims, found)
        _address6(site, path, nic, claims, found)


def check_forwards(site: Site, found: Problems) -> None:
    """Checks that each port of the server leads to one guest, and what guests' firewalls say."""
    taken = [(Protocol.TCP, range(API_PORT, API_PORT + 1), "the server's API")]
    for name, guest in site.guest.items():
        for index, rule in enumerate(guest.firewall or ()):
            _rule(rule, f"guest.{name}.firewall[{index}]", found)
        known = all(nic.network in site.network for nic in guest.nics)
        if guest.forwards and known and first_inside(site, guest.nics) is None:
            what = f"guest.{name}.forwards: expected a card in `nics` that they lead to, got none"
            inside = [key for key, network in site.network.items() if kind_of(network) is not Kind.BRIDGE]
            found.add(UnknownReferenceError, what, step=_first_network(inside))
        for index, forward in enumerate(guest.forwards):
            path = f"guest.{name}.forwards[{index}]"
            if _forward(forward, path, found):
                _claim_ports(taken, forward, path, found)


def _each_card(site: Site) -> Iterator[tuple[str, str, int, Nic]]:
    for name, guest in site.guest.items():
        for index, nic in enumerate(guest.nics):
            yield f"guest.{name}.nics[{index}]", name, index, nic


def _trunk(site: Site, path: str, nic: Nic, found: Problems) -> None:
    network = site.network[nic.network]
    if nic.trunk and kind_of(network) is not Kind.BRIDGE:
        found.add(WrongTypeError, f'{path}.trunk: expected only on networks of kind "bridge"')
    users: dict[str, str] = {} if network.vlan is None else {str(network.vlan): f"network.{nic.network}"}
    for index, vlan in enumerate(nic.trunk):
        claim(users, str(vlan), f"{path}.trunk[{index}]", ConflictError, f"VLAN {vlan} of one card", found)


def _address4(
    site: Site, path: str, nic: Nic, subnets: dict[str, IPv4Network], claims: _Claims, found: Problems
) -> None:
    network = site.network[nic.network]
    bridge = kind_of(network) is Kind.BRIDGE
    if nic.address is None or not (bridge or nic.network in subnets):
        return
    address = read_address(nic.address, f"{path}.address", found)
    if address is not None and not bridge:
        net = subnets[nic.network]
        if address not in net or address in (net.network_address, net.broadcast_address):
            hosts = f"an address from {net.network_address + 2} to {net.broadcast_address - 1}"
            found.add(ConflictError, f"{path}.address: expected {hosts} (network.{nic.network}), got {address}")
        elif address == gateway(network).ip:
            found.add(ConflictError, f"{path}.address: {address} is the server's own address in network.{nic.network}")
    elif address is not None and (address.is_unspecified or address.is_multicast):
        found.add(WrongTypeError, f"{path}.address: expected the address of one card, got {address}")
    wish = f"{nic.address} in network.{nic.network}"
    claim(claims.addresses, wish, path, ConflictError, f"the address {wish}", found)


def _address6(site: Site, path: str, nic: Nic, claims: _Claims, found: Problems) -> None:
    network = site.network[nic.network]
    if nic.address6 is None:
        return
    address = read_address6(nic.address6, f"{path}.address6", found)
    if address is None:
        return
    if kind_of(network) is not Kind.BRIDGE:
        if network.subnet6 is None:
            what = f"{path}.address6: expected a network with a subnet6, and network.{nic.network} has none"
            found.add(UnknownReferenceError, what)
            return
        own = _own6(site, nic.network)
        if own and (address not in own or address == own.network_address):
            found.add(ConflictError, f"{path}.address6: expected an address in {own}, got {address}")
        elif own and address == own.network_address + 1:
            what = f"{path}.address6: {address} is the server's own address in network.{nic.network}"
            found.add(ConflictError, what)
    elif address.is_unspecified or address.is_multicast or address.is_link_local:
        found.add(WrongTypeError, f"{path}.address6: expected an address that reaches beyond the link, got {address}")
    wish = f"{address} in network.{nic.network}"
    claim(claims.addresses, wish, path, ConflictError, f"the address {wish}", found)


def _own6(site: Site, name: str) -> IPv6Network | None:
    """A network's subnet6, or None where it is no such thing: that is told already."""
    try:
        own = gateway6(site.network[name])
    except ValueError:
        return None
    return own.network if own else None


def _forward(forward: Forward, path: str, found: Problems) -> bool:
    """Checks a forward by itself; tells whether its ports can be counted."""
    _sources(forward.from_, path, found)
    if forward.to is not None and isinstance(forward.port, str):
        found.add(WrongTypeError, f"{path}.to: expected only beside a single port: a range keeps its numbers")
    return _ports(forward.port, f"{path}.port", found)


def _claim_ports(taken: list[tuple[Protocol, range, str]], forward: Forward, path: str, found: Problems) -> None:
    ours = port_range(forward.port)
    for protocol, theirs, other in taken:
        first = max(ours[0], theirs[0])
        if protocol is forward.protocol and first <= min(ours[-1], theirs[-1]):
            found.add(ConflictError, f"{path} and {other} both want {protocol} port {first}")
            return
    taken.append((forward.protocol, ours, path))


def _rule(rule: Rule, path: str, found: Problems) -> None:
    _sources(rule.from_, path, found)
    if rule.port is None:
        return
    if rule.allow not in (Allow.TCP, Allow.UDP):
        found.add(WrongTypeError, f'{path}.port: expected only beside allow = "tcp" or "udp", got "{rule.allow}"')
    _ports(rule.port, f"{path}.port", found)


def _ports(port: int | str, path: str, found: Problems) -> bool:
    ports = port_range(port)
    right = 0 < len(ports) <= MOST_FORWARDED and ports[-1] <= LAST_PORT
    if not right:
        expected = f"first and last of at most {MOST_FORWARDED} ports up to {LAST_PORT}"
        found.add(WrongTypeError, f'{path}: expected {expected}, got "{port}"')
    return right


def _sources(wish: str | tuple[str, ...], path: str, found: Problems) -> None:
    for text in sources(wish):
        try:
            ip_network(without_zone(text))
        except ValueError as error:
            expected = 'an address or a network such as "192.0.2.0/24" or "2001:db8::/32"'
            found.add(WrongTypeError, f'{path}.from: expected {expected}, got "{text}" ({error})')


def _first_network(networks: Iterable[str]) -> str:
    name = next(iter(networks), None)
    return f'Add nics = [{{ network = "{name}" }}].' if name else "Declare a [network.NAME] and a card on it."
