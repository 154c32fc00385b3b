"""`[network.NAME]`, `[bond.NAME]`, the uplink, and the cards, forwards and firewalls of guests."""

from __future__ import annotations

from enum import StrEnum

from msgspec import field

from flashvisor.model.site.words import Mac, NetworkName, Port, PortRange, Rate, Table, Vlan


class Protocol(StrEnum):
    """What a port forward carries."""

    TCP = "tcp"
    UDP = "udp"


class Kind(StrEnum):
    """How a network is joined to the world: by NAT, not at all, or as part of the uplink's own network."""

    NAT = "nat"
    ISOLATED = "isolated"
    BRIDGE = "bridge"


class BondMode(StrEnum):
    """How several cards act as one. Source: Documentation/networking/bonding.rst."""

    ACTIVE_BACKUP = "active-backup"
    LACP = "802.3ad"


class Allow(StrEnum):
    """What a firewall's rule lets through to a guest."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ALL = "all"


class Uplink(Table, frozen=True, kw_only=True):
    """The management network, on one card, on a bond, or, without either, on whichever card has a link.

    `address` is "dhcp" or an interface address such as "192.0.2.10/24"; `address6` is "auto" (router advertisements),
    "none" or an interface address; `vlan` is the tag that the management network has.
    """

    mac: Mac | None = None
    bond: NetworkName | None = None
    vlan: Vlan | None = None
    address: str = "dhcp"
    gateway: str | None = None
    address6: str = "auto"
    gateway6: str | None = None
    dns: tuple[str, ...] = ()


class Bond(Table, frozen=True, kw_only=True):
    """Several cards, by MAC address, that act as one. The bond has the first card's address."""

    cards: tuple[Mac, ...]
    mode: BondMode = BondMode.ACTIVE_BACKUP


class Network(Table, frozen=True, kw_only=True):
    """A network for guests.

    `nat` and `isolated` networks have a subnet of their own, in which the server gives addresses and answers for
    names; `nat = false` is the older word for `isolated`. A `bridge` joins guests to the network behind an uplink,
    which is a card's MAC address or a bond's name, and the management uplink if it is left out.
    """

    kind: Kind | None = None
    nat: bool | None = None
    subnet: str | None = None
    subnet6: str | None = None
    dns: tuple[str, ...] = ()
    uplink: str | None = None
    vlan: Vlan | None = None
    isolated_ports: bool = False


class Nic(Table, frozen=True, kw_only=True):
    """A guest's network card.

    `rate_in` limits what reaches the guest, `rate_out` what it sends; `trunk` are VLANs that it gets with their tags;
    `spoofing` lets it send from any address.
    """

    network: NetworkName
    address: str | None = None
    address6: str | None = None
    mac: Mac | None = None
    trunk: tuple[Vlan, ...] = ()
    rate_in: Rate | None = None
    rate_out: Rate | None = None
    spoofing: bool = False


class Forward(Table, frozen=True, kw_only=True):
    """A port of the server, or a range of them, that leads to the guest's first card with a subnet of the server's.

    A range keeps its numbers; a single port may lead `to` another one. `from` holds the source networks let through.
    """

    port: Port | PortRange
    to: Port | None = None
    protocol: Protocol = Protocol.TCP
    from_: str | tuple[str, ...] = field(name="from", default=())


class Rule(Table, frozen=True, kw_only=True):
    """What a guest's firewall lets in: all ports of a protocol if none is named, from everywhere unless `from` is."""

    allow: Allow
    port: Port | PortRange | None = None
    from_: str | tuple[str, ...] = field(name="from", default=())
