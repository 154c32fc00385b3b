"""Checks of `[guest.NAME.appliance]`."""

from __future__ import annotations

from ipaddress import IPv4Interface
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from flashvisor.errors import ConflictError, WrongTypeError
from flashvisor.model.sitecheck.addresses import read_address

if TYPE_CHECKING:
    from flashvisor.model.problem import Problems
    from flashvisor.model.site import Appliance, Guest

FILES_LIMIT = 65_536  # bytes of a guest's files together: the server's flash keeps them with each generation
DNS_LIMIT = 2  # name servers that the kernel's ip= takes (Documentation/admin-guide/nfs/nfsroot.rst)

LONGEST_PREFIX = 30  # bits: two machines


def check_appliance(guest: Guest, path: str, found: Problems) -> None:
    """Checks what an appliance is told: that its files fit, and that its address can be one."""
    if guest.appliance is None:
        return
    path = f"{path}.appliance"
    _files(guest.appliance, path, found)
    _address(guest.appliance, path, found)
    if guest.appliance.address is not None and not guest.nics:
        found.add(ConflictError, f"{path}.address: the guest has no card that it could be for")


def _files(wish: Appliance, path: str, found: Problems) -> None:
    size = sum(len(text.encode()) for text in wish.files.values())
    if size > FILES_LIMIT:
        found.add(
            WrongTypeError,
            f"{path}.files: expected at most {FILES_LIMIT:,} bytes together, got {size:,}",
            step="Larger files belong on the guest's disk.",
        )
    for name in wish.files:
        for parent in PurePosixPath(name).parents:
            if str(parent) in wish.files:
                found.add(ConflictError, f'{path}.files: "{parent}" is a file, and the directory of "{name}"')
    if wish.files_from:
        found.add(
            WrongTypeError,
            f"{path}.files_from: expected to be replaced by files before the site reaches a server",
            step="`flashvisor apply` does it; over the API, send the files' texts as files.",
        )


def _address(wish: Appliance, path: str, found: Problems) -> None:
    if wish.address is None:
        for key in ("gateway", "dns"):
            if getattr(wish, key):
                found.add(ConflictError, f"{path}.{key}: without an address, DHCP gives it")
        return
    address = _interface(wish.address)
    if address is None:
        expected = 'an IPv4 address with its prefix, as in "192.0.2.2/24"'
        found.add(WrongTypeError, f'{path}.address: expected {expected}, got "{wish.address}"')
    hop = None if wish.gateway is None else read_address(wish.gateway, f"{path}.gateway", found)
    if hop is not None and address is not None and (hop not in address.network or hop == address.ip):
        found.add(ConflictError, f"{path}.gateway: expected another address inside {address.network}, got {hop}")
    for index, server in enumerate(wish.dns):
        read_address(server, f"{path}.dns[{index}]", found)
    if len(wish.dns) > DNS_LIMIT:
        found.add(WrongTypeError, f"{path}.dns: expected at most {DNS_LIMIT} name servers, got {len(wish.dns)}")


def _interface(text: str) -> IPv4Interface | None:
    """An address that a card can have: with its prefix, and neither the network's own nor the one for all."""
    try:
        address = IPv4Interface(text)
    except ValueError:
        return None
    net = address.network
    usable = net.prefixlen <= LONGEST_PREFIX and address.ip not in (net.network_address, net.broadcast_address)
    return address if "/" in text and usable else None
