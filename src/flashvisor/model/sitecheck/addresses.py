"""Addresses in a site file: read, or noted as a problem."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from flashvisor.errors import WrongTypeError

if TYPE_CHECKING:
    from flashvisor.model.problem import Problems


def without_zone(text: str) -> str:
    """Returns a text that names no interface behind an address, as "fe80::1%eth0" does (RFC 4007, 11).

    A site names no interfaces; Python takes any text there, and nft and networkd would get it as it is.

    Raises:
        AddressValueError: it names one.
    """
    if "%" in text:
        raise AddressValueError("it names an interface")
    return text


def read_address(text: str, path: str, found: Problems) -> IPv4Address | None:
    """Returns an IPv4 address, or None with a problem noted."""
    try:
        return IPv4Address(text)
    except AddressValueError:
        found.add(WrongTypeError, f'{path}: expected an IPv4 address, got "{text}"')
        return None


def read_address6(text: str, path: str, found: Problems) -> IPv6Address | None:
    """Returns an IPv6 address, or None with a problem noted."""
    try:
        return IPv6Address(without_zone(text))
    except AddressValueError:
        found.add(WrongTypeError, f'{path}: expected an IPv6 address, got "{text}"')
        return None
