"""Checks of `[network.NAME]`: kinds, subnets, what they hang on."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError
from typing import TYPE_CHECKING, TypeVar

from flashvisor.errors import ConflictError, UnknownReferenceError, WrongTypeError
from flashvisor.model.problem import did_you_mean
from flashvisor.model.site import Kind
from flashvisor.model.sitecheck.addresses import read_address, without_zone
from flashvisor.model.sitecheck.uplink import bonded, is_mac
from flashvisor.model.wiring import is_card, kind_of, uplink_of

if TYPE_CHECKING:
    from flashvisor.model.problem import Problems
    from flashvisor.model.site import Network, Site

Net = TypeVar("Net", IPv4Network, IPv6Network)

LONGEST_PREFIX = 30  # bits: the server and one guest
SHORTEST_PREFIX = 8  # bits
PREFIX6 = 64  # bits: guests make the other half themselves (SLAAC, RFC 4862)
# Which keys have a meaning in which kinds.
INSIDE_ONLY = ("subnet", "subnet6", "dns")
BRIDGE_ONLY = ("uplink", "vlan")


def check_networks(site: Site, found: Problems) -> dict[str, IPv4Network]:
    """Checks all networks; returns the subnets that are sound."""
    sound: dict[str, IPv4Network] = {}
    sound6: dict[str, IPv6Network] = {}
    for name, network in site.network.items():
        path = f"network.{name}"
        _kind(network, path, found)
        if kind_of(network) is Kind.BRIDGE:
            _uplink(site, network, path, found)
            continue
        for index, text in enumerate(network.dns):
            read_address(text, f"{path}.dns[{index}]", found)
        net = None if network.subnet is None else _subnet(network.subnet, f"{path}.subnet", found)
        if net is not None:
            _overlap(net, sound, f"{path}.subnet", found)
            sound[name] = net
        net6 = None if network.subnet6 is None else _subnet6(network.subnet6, f"{path}.subnet6", found)
        if net6 is not None:
            _overlap(net6, sound6, f"{path}.subnet6", found)
            sound6[name] = net6
    return sound


def _kind(network: Network, path: str, found: Problems) -> None:
    kind = kind_of(network)
    if network.nat is not None and network.kind is not None:
        found.add(WrongTypeError, f"{path}.nat: expected one of kind and nat, got both")
    if kind is Kind.BRIDGE:
        for key in INSIDE_ONLY:
            if getattr(network, key):
                found.add(WrongTypeError, f'{path}.{key}: expected only in networks of kind "nat" or "isolated"')
        return
    for key in BRIDGE_ONLY:
        if getattr(network, key):
            found.add(WrongTypeError, f'{path}.{key}: expected only in networks of kind "bridge"')
    if network.subnet is None:
        found.add(WrongTypeError, f'{path}.subnet is missing: it must be given in networks of kind "{kind}"')


def _uplink(site: Site, network: Network, path: str, found: Problems) -> None:
    uplink = uplink_of(site, network)
    if uplink is None:
        found.add(
            UnknownReferenceError,
            f"{path}.uplink: expected a card or a bond, and node.uplink names none either",
            step="Give node.uplink the `mac` of its card (`flashvisor node show` lists them), or a `bond`.",
        )
    elif network.uplink is None:
        return  # node.uplink's own words: checked there
    elif is_card(uplink):
        if not is_mac(uplink):
            found.add(WrongTypeError, f'{path}.uplink: expected a MAC address in lower case, got "{uplink}"')
        elif bond := bonded(site).get(uplink):
            found.add(ConflictError, f"{path}.uplink: the card {uplink} belongs to bond.{bond}")
    elif uplink not in site.bond:
        what = f'{path}.uplink: no bond "{uplink}" is declared, and a card is named by its MAC address'
        found.add(UnknownReferenceError, what, step=did_you_mean(uplink, site.bond))


def _subnet(text: str, path: str, found: Problems) -> IPv4Network | None:
    try:
        net = IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        expected = 'an IPv4 subnet such as "10.77.0.0/24"'
        found.add(WrongTypeError, f'{path}: expected {expected}, got "{text}" ({error})')
        return None
    if not SHORTEST_PREFIX <= net.prefixlen <= LONGEST_PREFIX:
        limits = f"/{SHORTEST_PREFIX} to /{LONGEST_PREFIX}"
        found.add(WrongTypeError, f'{path}: expected a subnet of {limits}, got "{text}"')
        return None
    return net


def _subnet6(text: str, path: str, found: Problems) -> IPv6Network | None:
    expected = f'an IPv6 subnet of /{PREFIX6} such as "fd00:77::/{PREFIX6}"'
    try:
        net = IPv6Network(without_zone(text))
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        found.add(WrongTypeError, f'{path}: expected {expected}, got "{text}" ({error})')
        return None
    if net.prefixlen != PREFIX6 or net.is_link_local or net.is_multicast or net.is_unspecified:
        found.add(WrongTypeError, f'{path}: expected {expected}, got "{text}"')
        return None
    return net


def _overlap(net: Net, sound: dict[str, Net], path: str, found: Problems) -> None:
    for other, taken in sound.items():
        if net.overlaps(taken):
            found.add(ConflictError, f"{path}: {net} overlaps with network.{other}, which is {taken}")
