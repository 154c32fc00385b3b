"""Checks of `[node.uplink]` and `[bond.NAME]`: what the server itself hangs on."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address
from typing import TYPE_CHECKING

from flashvisor.errors import ConflictError, DuplicateMacError, UnknownReferenceError, WrongTypeError
from flashvisor.model.problem import did_you_mean
from flashvisor.model.sitecheck.addresses import read_address, read_address6, without_zone
from flashvisor.model.sitecheck.claims import claim

if TYPE_CHECKING:
    from flashvisor.model.problem import Problems
    from flashvisor.model.site import Site, Uplink

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
PATH = "node.uplink"


def is_mac(text: str) -> bool:
    """Tells whether a text is a MAC address in lower case."""
    return MAC.fullmatch(text) is not None


def is_group(mac: str) -> bool:
    """Tells whether a MAC address is nobody's own (IEEE 802: a group, or all zeros)."""
    return bool(int(mac[:2], 16) & 1) or mac == "00:00:00:00:00:00"


def bonded(site: Site) -> dict[str, str]:
    """Returns which bond each card belongs to, by MAC address."""
    return {mac: name for name, bond in site.bond.items() for mac in bond.cards}


def check_bonds(site: Site, found: Problems) -> None:
    """Checks that each bond has cards, and no card two bonds."""
    users: dict[str, str] = {}
    for name, bond in site.bond.items():
        path = f"bond.{name}.cards"
        if not bond.cards:
            found.add(WrongTypeError, f"{path}: expected the MAC addresses of its cards, got none")
        for index, mac in enumerate(bond.cards):
            claim(users, mac, f"{path}[{index}]", DuplicateMacError, f"the card {mac}", found)
            if is_group(mac):
                what = f'{path}[{index}]: expected the address of one card, got "{mac}" (IEEE 802: a group)'
                found.add(WrongTypeError, what)


def check_uplink(site: Site, subnets: dict[str, IPv4Network], found: Problems) -> None:
    """Checks the management network by itself and against the sound subnets."""
    uplink = site.node.uplink
    for index, text in enumerate(uplink.dns):
        _any_address(text, f"{PATH}.dns[{index}]", found)
    _card(site, uplink, found)
    own = _check4(uplink, found)
    _check6(site, uplink, found)
    for name, net in subnets.items() if own else ():
        if own and net.overlaps(own.network):
            found.add(ConflictError, f"network.{name}.subnet: {net} overlaps with the uplink's {own.network}")


def _card(site: Site, uplink: Uplink, found: Problems) -> None:
    if uplink.mac and uplink.bond:
        found.add(WrongTypeError, f"{PATH}.bond: expected one of mac and bond, got both")
    elif uplink.bond and uplink.bond not in site.bond:
        what = f'{PATH}.bond: no bond "{uplink.bond}" is declared'
        found.add(UnknownReferenceError, what, step=did_you_mean(uplink.bond, site.bond))
    elif uplink.mac and (bond := bonded(site).get(uplink.mac)):
        found.add(ConflictError, f"{PATH}.mac: the card {uplink.mac} belongs to bond.{bond}")
    elif uplink.vlan and not (uplink.mac or uplink.bond):
        found.add(
            UnknownReferenceError,
            f"{PATH}.vlan: expected a card (mac) or a bond beside it, got neither",
            step="`flashvisor node show` lists the server's cards.",
        )


def _check4(uplink: Uplink, found: Problems) -> IPv4Interface | None:
    hop = None if uplink.gateway is None else read_address(uplink.gateway, f"{PATH}.gateway", found)
    if uplink.address == "dhcp":
        if uplink.gateway is not None:
            found.add(WrongTypeError, f'{PATH}.gateway: expected only beside a fixed address, got address = "dhcp"')
        return None
    try:
        own = IPv4Interface(uplink.address)
    except ValueError:
        found.add(WrongTypeError, f'{PATH}.address: expected "dhcp" or "ADDRESS/BITS", got "{uplink.address}"')
        return None
    # Python takes a netmask as well ("/255.255.255.0"), and networkd does not.
    if not uplink.address.partition("/")[2].isdecimal():
        found.add(WrongTypeError, f'{PATH}.address: expected a prefix length too, as in "{own.ip}/24"')
        return None
    if hop is not None and (hop not in own.network or hop == own.ip):
        found.add(WrongTypeError, f"{PATH}.gateway: expected another address inside {own.network}, got {hop}")
    return own


def _check6(site: Site, uplink: Uplink, found: Problems) -> None:
    own: IPv6Interface | None = None
    if uplink.address6 not in ("auto", "none"):
        try:
            own = IPv6Interface(without_zone(uplink.address6))
        except ValueError:
            expected = '"auto", "none" or "ADDRESS/BITS"'
            found.add(WrongTypeError, f'{PATH}.address6: expected {expected}, got "{uplink.address6}"')
            return
        if "/" not in uplink.address6:
            found.add(WrongTypeError, f'{PATH}.address6: expected a prefix length too, as in "{own.ip}/64"')
        for name, network in site.network.items():
            with suppress(ValueError):  # told where networks are checked
                if network.subnet6 and own.network.overlaps(IPv6Network(network.subnet6)):
                    what = f"network.{name}.subnet6: {network.subnet6} overlaps with the uplink's {own.network}"
                    found.add(ConflictError, what)
    if uplink.gateway6 is None:
        return
    if own is None:
        found.add(WrongTypeError, f"{PATH}.gateway6: expected only beside a fixed address6")
        return
    hop = read_address6(uplink.gateway6, f"{PATH}.gateway6", found)
    # Routers often announce themselves by their link-local address only.
    if hop is not None and (hop == own.ip or not (hop in own.network or hop.is_link_local)):
        found.add(WrongTypeError, f"{PATH}.gateway6: expected another address inside {own.network}, got {hop}")


def _any_address(text: str, path: str, found: Problems) -> None:
    try:
        ip_address(without_zone(text))
    except ValueError:
        found.add(WrongTypeError, f'{path}: expected an IPv4 or IPv6 address, got "{text}"')
