"""The site file's shape: node, images, storage, networks, guests. Pure types, no I/O.

Owns what may stand in `site.toml`. Does not own whether a server can carry it out (node/plan.py).
Reading and cross-checking stand in `sitefile.py`::

    schema = 1
    [node]
    name = "alpha"
    [storage.main]
    serial = "data0"
    [network.inside]
    subnet = "10.77.0.0/24"
    [image.hello]
    file = "../build/appliances/hello.efi"
    [guest.hello]
    image = "hello"
    memory = "64MiB"
    nics = [{ network = "inside", address = "10.77.0.10" }]
    forwards = [{ port = 8080, to = 80 }]
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

# Names become domain, bridge, file and host names: the narrowest of them rules (RFC 1123 labels).
Name = Annotated[
    str,
    Meta(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$", description="at most 32 lower-case letters, digits, -"),
]
# A network's bridge is called br-NAME, and Linux allows 15 characters for an interface.
NetworkName = Annotated[
    str,
    Meta(pattern=r"^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$", description="at most 12 lower-case letters, digits, -"),
]
Size = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]+ ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
        description='a whole number and a unit, as in "512MiB" or "4GiB"',
        examples=["512MiB", "4GiB"],
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port number, 1 to 65535")]
Mac = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$",
        description='a MAC address in lower case, as in "52:54:00:12:34:56"',
    ),
]
Seconds = Annotated[int, Meta(ge=1, le=86400)]


class Firmware(StrEnum):
    """What starts a guest that has its own disk."""

    BIOS = "bios"
    UEFI = "uefi"


class Protocol(StrEnum):
    """What a port forward carries."""

    TCP = "tcp"
    UDP = "udp"


class OnCrash(StrEnum):
    """What happens to a guest that crashed: its kernel panicked, or QEMU died. A guest that shut down stays down."""

    RESTART = "restart"
    STOP = "stop"


class _Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of the site file."""


class Uplink(_Table, frozen=True, kw_only=True):
    """The management network. `address` is "dhcp" or an interface address such as "192.0.2.10/24"."""

    mac: Mac | None = None
    address: str = "dhcp"
    gateway: str | None = None
    dns: tuple[str, ...] = ()


class Node(_Table, frozen=True, kw_only=True):
    """The server itself."""

    name: Name
    uplink: Uplink = Uplink()


class Image(_Table, frozen=True, kw_only=True):
    """A file on the administrator's machine, relative to the site file, that guests start from."""

    file: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 hex digits in lower case")] | None = None


class Storage(_Table, frozen=True, kw_only=True):
    """A data disk of the server, named by its serial number or its path under /dev (exactly one)."""

    serial: str | None = None
    device: str | None = None


class Network(_Table, frozen=True, kw_only=True):
    """A network inside the server: guests get addresses by DHCP and reach out by NAT when `nat` is set."""

    subnet: str
    nat: bool = True


class Nic(_Table, frozen=True, kw_only=True):
    """A guest's network card."""

    network: NetworkName
    address: str | None = None
    mac: Mac | None = None


class Forward(_Table, frozen=True, kw_only=True):
    """A port of the server that leads to a port of the guest's first card."""

    port: Port
    to: Port
    protocol: Protocol = Protocol.TCP


class CloudInit(_Table, frozen=True, kw_only=True):
    """What cloud-init in the guest is told (NoCloud datasource).

    `ssh_key_files` are files on the administrator's machine, relative to the site file; the command line puts their
    text in as `ssh_keys` before anything is sent (model/inline.py), so a server never sees them.
    """

    user: Name = "admin"
    ssh_keys: tuple[str, ...] = ()
    ssh_key_files: tuple[str, ...] = ()
    hostname: Name | None = None


class Guest(_Table, frozen=True, kw_only=True):
    """A virtual machine."""

    image: Name
    memory: Size
    cpus: Annotated[int, Meta(ge=1, le=255, description="a whole number, 1 to 255")] = 1
    firmware: Firmware = Firmware.UEFI
    disk: Size | None = None
    storage: Name | None = None
    autostart: bool = True
    on_crash: OnCrash = OnCrash.RESTART
    nics: tuple[Nic, ...] = ()
    forwards: tuple[Forward, ...] = ()
    cloud_init: CloudInit | None = None


class Site(_Table, frozen=True, kw_only=True):
    """One server, one file."""

    schema: Annotated[int, Meta(ge=1, le=1, description="the number 1: the version of the site file's format")]
    node: Node
    storage: dict[Name, Storage] = {}
    network: dict[NetworkName, Network] = {}
    image: dict[Name, Image] = {}
    guest: dict[Name, Guest] = {}
