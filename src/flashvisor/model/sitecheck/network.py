"""Checks of networks, the uplink, guests' cards and forwards."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError
from typing import TYPE_CHECKING

from flashvisor.errors import ConflictError, DuplicateMacError, UnknownReferenceError, WrongTypeError
from flashvisor.model.names import gateway, nic_mac
from flashvisor.model.problem import did_you_mean
from flashvisor.model.site import Protocol
from flashvisor.model.sitecheck.claims import claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flashvisor.model.problem import Problems
    from flashvisor.model.site import Nic, Site

API_PORT = 443  # TCP: the server's own
LONGEST_PREFIX = 30  # bits: the server and one guest
SHORTEST_PREFIX = 8  # bits


def check_networks(site: Site, found: Problems) -> dict[str, IPv4Network]:
    """Checks subnets; returns those that are sound."""
    sound: dict[str, IPv4Network] = {}
    for name, network in site.network.items():
        path = f"network.{name}.subnet"
        try:
            net = IPv4Network(network.subnet)
        except (AddressValueError, NetmaskValueError, ValueError) as error:
            expected = 'an IPv4 subnet such as "10.77.0.0/24"'
            found.add(WrongTypeError, f'{path}: expected {expected}, got "{network.subnet}" ({error})')
            continue
        if not SHORTEST_PREFIX <= net.prefixlen <= LONGEST_PREFIX:
            limits = f"/{SHORTEST_PREFIX} to /{LONGEST_PREFIX}"
            found.add(WrongTypeError, f'{path}: expected a subnet of {limits}, got "{network.subnet}"')
            continue
        for other, taken in sound.items():
            if net.overlaps(taken):
                found.add(ConflictError, f"{path}: {net} overlaps with network.{other}, which is {taken}")
        sound[name] = net
    return sound


def check_uplink(site: Site, subnets: dict[str, IPv4Network], found: Problems) -> None:
    """Checks the management network by itself and against the sound subnets."""
    uplink, path = site.node.uplink, "node.uplink"
    for index, text in enumerate(uplink.dns):
        _address(text, f"{path}.dns[{index}]", found)
    hop = None if uplink.gateway is None else _address(uplink.gateway, f"{path}.gateway", found)
    if uplink.address == "dhcp":
        if uplink.gateway is not None:
            found.add(WrongTypeError, f'{path}.gateway: expected only beside a fixed address, got address = "dhcp"')
        return
    try:
        own = IPv4Interface(uplink.address)
    except ValueError:
        found.add(WrongTypeError, f'{path}.address: expected "dhcp" or "ADDRESS/BITS", got "{uplink.address}"')
        return
    if "/" not in uplink.address:
        found.add(WrongTypeError, f'{path}.address: expected a prefix length too, as in "{own.ip}/24"')
        return
    if hop is not None and (hop not in own.network or hop == own.ip):
        found.add(WrongTypeError, f"{path}.gateway: expected another address inside {own.network}, got {hop}")
    for name, net in subnets.items():
        if net.overlaps(own.network):
            found.add(ConflictError, f"network.{name}.subnet: {net} overlaps with the uplink's {own.network}")


def _address(text: str, path: str, found: Problems) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        found.add(WrongTypeError, f'{path}: expected an IPv4 address, got "{text}"')
        return None


def _each_card(site: Site) -> Iterator[tuple[str, str, int, Nic]]:
    for name, guest in site.guest.items():
        for index, nic in enumerate(guest.nics):
            yield f"guest.{name}.nics[{index}]", name, index, nic


def check_cards(site: Site, subnets: dict[str, IPv4Network], found: Problems) -> None:
    """Checks all guests' cards: addresses, networks, doubles."""
    macs: dict[str, str] = {}
    addresses: dict[str, str] = {}
    if site.node.uplink.mac is not None:
        macs[site.node.uplink.mac] = "node.uplink"
    for path, name, index, nic in _each_card(site):
        mac = nic_mac(site.node.name, name, index, nic)
        claim(macs, mac, path, DuplicateMacError, f"the MAC address {mac}", found)
        if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
            found.add(WrongTypeError, f'{path}.mac: expected the address of one card, got "{mac}" (IEEE 802: a group)')
        if nic.network not in site.network:
            what = f'{path}.network: no network "{nic.network}" is declared'
            found.add(UnknownReferenceError, what, step=did_you_mean(nic.network, site.network))
        elif nic.address is not None and nic.network in subnets:
            _card_address(site, path, nic, subnets[nic.network], found)
            wish = f"{nic.address} in network.{nic.network}"
            claim(addresses, wish, path, ConflictError, f"the address {wish}", found)


def _card_address(site: Site, path: str, nic: Nic, net: IPv4Network, found: Problems) -> None:
    address = _address(str(nic.address), f"{path}.address", found)
    if address is None:
        return
    if address not in net or address in (net.network_address, net.broadcast_address):
        last = net.broadcast_address - 1
        hosts = f"an address from {net.network_address + 2} to {last}"
        found.add(ConflictError, f"{path}.address: expected {hosts} (network.{nic.network}), got {address}")
    elif address == gateway(site.network[nic.network]).ip:
        found.add(ConflictError, f"{path}.address: {address} is the server's own address in network.{nic.network}")


def check_forwards(site: Site, found: Problems) -> None:
    """Checks that each port of the server leads to one guest."""
    users = {f"{Protocol.TCP} port {API_PORT}": "the server's API"}
    for name, guest in site.guest.items():
        if guest.forwards and not guest.nics:
            what = f"guest.{name}.forwards: expected a card in `nics` that they lead to, got none"
            found.add(UnknownReferenceError, what, step=_first_network(site.network))
        for index, forward in enumerate(guest.forwards):
            wish = f"{forward.protocol} port {forward.port}"
            claim(users, wish, f"guest.{name}.forwards[{index}]", ConflictError, wish, found)


def _first_network(networks: Iterable[str]) -> str:
    name = next(iter(networks), None)
    return f'Add nics = [{{ network = "{name}" }}].' if name else "Declare a [network.NAME] and a card on it."
