"""Names and addresses that follow from the site file, the same on every boot. Pure.

Owns MAC addresses, domain UUIDs, interface names, gateways and leases. Owns no state: nothing of this is
written down anywhere, because the site file alone decides it::

    lease = assign_addresses(site)[0]
    lease.guest, lease.mac, str(lease.address)   # "hello", "52:54:00:…", "10.77.0.10"
    bridge_name("inside") == "br-inside"
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING

from flashvisor.errors import ConflictError

if TYPE_CHECKING:
    from flashvisor.model.site import Guest, Network, Nic, Site

MAC_PREFIX = "52:54:00"  # QEMU's and KVM's own, locally administered
GUEST_NAMESPACE = uuid.UUID("6a1c2b5e-3f0d-5c8e-9a41-0d7f5b1e2c60")  # any fixed UUID; never change it
INTERFACE_LIMIT = 15  # characters: IFNAMSIZ less its terminating 0 (netdevice(7))
HASH_DIGITS = 8  # hex digits


@dataclass(frozen=True)
class Lease:
    """A guest's card and the address that its network's DHCP server gives it."""

    guest: str
    index: int
    network: str
    mac: str
    address: IPv4Address


def derive_mac(node: str, guest: str, index: int) -> str:
    """Returns the MAC address of a guest's card number `index` (from 0) when the site file gives none."""
    digest = hashlib.sha256(f"{node}/{guest}/{index}".encode()).hexdigest()
    return ":".join([MAC_PREFIX, digest[0:2], digest[2:4], digest[4:6]])


def nic_mac(node: str, guest: str, index: int, nic: Nic) -> str:
    """Returns the MAC address of a card: the site file's, else the derived one."""
    return nic.mac or derive_mac(node, guest, index)


def guest_uuid(node: str, guest: str) -> uuid.UUID:
    """Returns a guest's domain UUID (version 5, RFC 9562): the same after every boot and on every generation."""
    return uuid.uuid5(GUEST_NAMESPACE, f"{node}/{guest}")


def bridge_name(network: str) -> str:
    """Returns the name of a network's bridge on the server."""
    return f"br-{network}"


def bridge_mac(node: str, network: str) -> str:
    """Returns the MAC address of a network's bridge. No guest's name holds a slash, so it is never a guest's."""
    return derive_mac(node, f"network/{network}", 0)


def link_local(mac: str) -> IPv6Address:
    """Returns the link-local address that a card makes from its MAC address (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:])


def tap_name(guest: str, index: int) -> str:
    """Returns the name of the server's end of a guest's card, at most 15 characters.

    Long guest names are replaced by a hash. Its `_` cannot stand in a guest's name, so the two forms never meet.
    """
    name = f"tap-{guest}-{index}"
    if len(name) <= INTERFACE_LIMIT:
        return name
    return f"tap_{hashlib.sha256(name.encode()).hexdigest()[:HASH_DIGITS]}"


def subnet(network: Network) -> IPv4Network:
    """Returns a network's subnet.

    Raises:
        ValueError: not an IPv4 subnet; `check_site` has refused such a site before.
    """
    if network.subnet is None:
        raise ValueError("a bridged network has no subnet of its own")
    return IPv4Network(network.subnet)


def gateway(network: Network) -> IPv4Interface:
    """Returns the server's own address in a network: the first host of the subnet, with its prefix length."""
    net = subnet(network)
    return IPv4Interface((net.network_address + 1, net.prefixlen))


def gateway6(network: Network) -> IPv6Interface | None:
    """Returns the server's own IPv6 address in a network: the first of `subnet6`; None without one."""
    if network.subnet6 is None:
        return None
    net = IPv6Network(network.subnet6)
    return IPv6Interface((net.network_address + 1, net.prefixlen))


def guest_storage(site: Site, guest: Guest) -> str | None:
    """Returns the name of the storage that a guest's files live on: its own choice, else the site's only one."""
    if guest.storage is not None:
        return guest.storage
    return next(iter(site.storage)) if len(site.storage) == 1 else None


def assign_addresses(site: Site) -> tuple[Lease, ...]:
    """Gives every card in a subnet of the server's its address: the site file's, else a free one derived from its MAC.

    A derived address depends on the card alone as long as nobody else holds it, so adding or removing a guest
    rarely moves another one.

    Args:
        site: A site that `check_site` accepts, or is checking.

    Returns:
        One lease for each card in a subnet of the server's, in the order of guest names and cards.

    Raises:
        ConflictError: a network has more cards than addresses.
    """
    inside = {name: net for name, net in site.network.items() if net.subnet is not None}
    cards = [
        (name, index, nic)
        for name in sorted(site.guest)
        for index, nic in enumerate(site.guest[name].nics)
        if nic.network in inside
    ]
    taken: dict[str, set[IPv4Address]] = {name: {gateway(net).ip} for name, net in inside.items()}
    for _, _, nic in cards:
        if nic.address is not None:
            taken[nic.network].add(IPv4Address(nic.address))
    leases = []
    for name, index, nic in cards:
        mac = nic_mac(site.node.name, name, index, nic)
        if nic.address is not None:
            address = IPv4Address(nic.address)
        else:
            address = _free_address(subnet(site.network[nic.network]), mac, taken[nic.network], nic.network)
            taken[nic.network].add(address)
        leases.append(Lease(name, index, nic.network, mac, address))
    return tuple(leases)


def _free_address(net: IPv4Network, mac: str, taken: set[IPv4Address], network: str) -> IPv4Address:
    # Hosts are 1 … size - 2; the search starts where the MAC's hash points and takes the next free one.
    hosts = net.num_addresses - 2
    start = int.from_bytes(hashlib.sha256(mac.encode()).digest()[:8])
    # One more try than addresses taken always meets a free one, if there is any.
    for step in range(min(hosts, len(taken) + 1)):
        address = net.network_address + 1 + (start + step) % hosts
        if address not in taken:
            return address
    raise ConflictError(
        f"network.{network}: all {hosts} addresses of {net} are taken",
        next_step="Give the network a larger subnet.",
    )
