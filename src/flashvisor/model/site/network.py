"""`[network.NAME]`, the uplink, and the cards and forwards of guests."""

from __future__ import annotations

from enum import StrEnum

from flashvisor.model.site.words import Mac, NetworkName, Port, Table


class Protocol(StrEnum):
    """What a port forward carries."""

    TCP = "tcp"
    UDP = "udp"


class Uplink(Table, frozen=True, kw_only=True):
    """The management network. `address` is "dhcp" or an interface address such as "192.0.2.10/24"."""

    mac: Mac | None = None
    address: str = "dhcp"
    gateway: str | None = None
    dns: tuple[str, ...] = ()


class Network(Table, frozen=True, kw_only=True):
    """A network inside the server: guests get addresses by DHCP and reach out by NAT when `nat` is set."""

    subnet: str
    nat: bool = True


class Nic(Table, frozen=True, kw_only=True):
    """A guest's network card."""

    network: NetworkName
    address: str | None = None
    mac: Mac | None = None


class Forward(Table, frozen=True, kw_only=True):
    """A port of the server that leads to a port of the guest's first card."""

    port: Port
    to: Port
    protocol: Protocol = Protocol.TCP
