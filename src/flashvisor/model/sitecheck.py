"""Cross-checks of a site: what no single key shows. Pure.

Owns references, addresses, ports and doubles inside one site file. Does not own whether a server can carry it
out: memory, disks and image files are checked where they are::

    check_site(parse_site(text, "site.toml"), "site.toml")
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError
from typing import TYPE_CHECKING

from flashvisor.errors import (
    ConflictError,
    DuplicateMacError,
    UnknownImageError,
    UnknownReferenceError,
    WrongTypeError,
)
from flashvisor.model.names import assign_addresses, gateway, guest_storage, nic_mac
from flashvisor.model.problem import Problems, did_you_mean
from flashvisor.model.site import Protocol
from flashvisor.model.size import UNITS, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flashvisor.errors import SiteError
    from flashvisor.model.site import CloudInit, Guest, Nic, Site

API_PORT = 443  # TCP: the server's own
MIN_MEMORY = 16 * UNITS["MiB"]  # bytes: less starts no kernel
MIN_DISK = 1 * UNITS["MiB"]  # bytes
MAX_SIZE = 1 << 60  # bytes: far above any machine, far below what libvirt and qcow2 can count
LONGEST_PREFIX = 30  # bits: the server and one guest
SHORTEST_PREFIX = 8  # bits

# authorized_keys(5) without options: type, base64, comment.
PUBLIC_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" [A-Za-z0-9+/]{40,}={0,3}( .*)?"
)


def check_site(site: Site, source: str = "site.toml") -> None:
    """Checks what the tables of a site say about each other.

    Args:
        site: A site as `parse_site` returns it.
        source: The file's name, for messages.

    Raises:
        UnknownImageError: a guest names an image that is not declared.
        UnknownReferenceError: a network or storage is not declared.
        DuplicateMacError: two cards have one MAC address, given or derived.
        ConflictError: two tables want one address, port, subnet or disk.
        WrongTypeError: an address, subnet, size or key cannot be what it must be.
            If there are several problems, the first decides the class and the others are its evidence.
    """
    found = Problems(source)
    _storage(site, found)
    subnets = _networks(site, found)
    _uplink(site, subnets, found)
    for name, guest in site.guest.items():
        _guest(site, name, guest, found)
    _cards(site, subnets, found)
    _forwards(site, found)
    found.raise_any()
    assign_addresses(site)


def _storage(site: Site, found: Problems) -> None:
    users: dict[str, str] = {}
    for name, storage in site.storage.items():
        path = f"storage.{name}"
        if (storage.serial is None) == (storage.device is None):
            got = "neither" if storage.serial is None else "both"
            found.add(WrongTypeError, f"{path}: expected exactly one of serial and device, got {got}")
        if storage.device is not None and not storage.device.startswith("/dev/"):
            found.add(WrongTypeError, f'{path}.device: expected a path under /dev, got "{storage.device}"')
        if storage.serial is not None and not storage.serial.strip():
            found.add(WrongTypeError, f'{path}.serial: expected a serial number, got "{storage.serial}"')
        for wish in filter(None, (storage.serial, storage.device)):
            _claim(users, wish, path, ConflictError, f'the disk "{wish}"', found)


def _claim(users: dict[str, str], wish: str, path: str, kind: type[SiteError], thing: str, found: Problems) -> None:
    """Notes who wants a thing, and a problem if another wanted it first."""
    if wish in users:
        found.add(kind, f"{path} and {users[wish]} both want {thing}")
    else:
        users[wish] = path


def _networks(site: Site, found: Problems) -> dict[str, IPv4Network]:
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


def _uplink(site: Site, subnets: dict[str, IPv4Network], found: Problems) -> None:
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


def _guest(site: Site, name: str, guest: Guest, found: Problems) -> None:
    path = f"guest.{name}"
    if guest.image not in site.image:
        what = f'{path}.image: no image "{guest.image}" is declared'
        found.add(UnknownImageError, what, step=did_you_mean(guest.image, site.image))
    _size(guest.memory, f"{path}.memory", MIN_MEMORY, found)
    if guest.disk is not None:
        _size(guest.disk, f"{path}.disk", MIN_DISK, found)
    _guest_storage(site, path, guest, found)
    if guest.cloud_init is not None:
        _cloud_init(guest.cloud_init, f"{path}.cloud_init", found)


def _size(text: str, path: str, least: int, found: Problems) -> None:
    if not least <= parse_size(text) < MAX_SIZE:
        found.add(WrongTypeError, f'{path}: expected at least {least // UNITS["MiB"]}MiB and below 1EiB, got "{text}"')


def _guest_storage(site: Site, path: str, guest: Guest, found: Problems) -> None:
    if guest.storage is not None and guest.storage not in site.storage:
        what = f'{path}.storage: no storage "{guest.storage}" is declared'
        found.add(UnknownReferenceError, what, step=did_you_mean(guest.storage, site.storage))
    elif guest_storage(site, guest) is None and (guest.disk is not None or site.storage):
        known = ", ".join(sorted(site.storage)) or "none is declared"
        found.add(UnknownReferenceError, f"{path}.storage: expected the name of a storage ({known}), got nothing")


def _cloud_init(wish: CloudInit, path: str, found: Problems) -> None:
    for index, key in enumerate(wish.ssh_keys):
        if not PUBLIC_KEY.fullmatch(key):
            # The text is not shown: people paste private keys by mistake.
            expected = 'an OpenSSH public key, as in "ssh-ed25519 AAAA… name"'
            found.add(WrongTypeError, f"{path}.ssh_keys[{index}]: expected {expected}")
    if wish.ssh_key_files:
        found.add(
            WrongTypeError,
            f"{path}.ssh_key_files: expected to be replaced by ssh_keys before the site reaches a server",
            step="`flashvisor apply` does it; over the API, send the keys' text as ssh_keys.",
        )


def _each_card(site: Site) -> Iterator[tuple[str, str, int, Nic]]:
    for name, guest in site.guest.items():
        for index, nic in enumerate(guest.nics):
            yield f"guest.{name}.nics[{index}]", name, index, nic


def _cards(site: Site, subnets: dict[str, IPv4Network], found: Problems) -> None:
    macs: dict[str, str] = {}
    addresses: dict[str, str] = {}
    if site.node.uplink.mac is not None:
        macs[site.node.uplink.mac] = "node.uplink"
    for path, name, index, nic in _each_card(site):
        mac = nic_mac(site.node.name, name, index, nic)
        _claim(macs, mac, path, DuplicateMacError, f"the MAC address {mac}", found)
        if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
            found.add(WrongTypeError, f'{path}.mac: expected the address of one card, got "{mac}" (IEEE 802: a group)')
        if nic.network not in site.network:
            what = f'{path}.network: no network "{nic.network}" is declared'
            found.add(UnknownReferenceError, what, step=did_you_mean(nic.network, site.network))
        elif nic.address is not None and nic.network in subnets:
            _card_address(site, path, nic, subnets[nic.network], found)
            wish = f"{nic.address} in network.{nic.network}"
            _claim(addresses, wish, path, ConflictError, f"the address {wish}", found)


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


def _forwards(site: Site, found: Problems) -> None:
    users = {f"{Protocol.TCP} port {API_PORT}": "the server's API"}
    for name, guest in site.guest.items():
        if guest.forwards and not guest.nics:
            what = f"guest.{name}.forwards: expected a card in `nics` that they lead to, got none"
            found.add(UnknownReferenceError, what, step=_first_network(site.network))
        for index, forward in enumerate(guest.forwards):
            wish = f"{forward.protocol} port {forward.port}"
            _claim(users, wish, f"guest.{name}.forwards[{index}]", ConflictError, wish, found)


def _first_network(networks: Iterable[str]) -> str:
    name = next(iter(networks), None)
    return f'Add nics = [{{ network = "{name}" }}].' if name else "Declare a [network.NAME] and a card on it."
