"""The site file's shape: node, images, storage, networks, guests. Pure types, no I/O.

Owns what may stand in `site.toml`. Does not own whether a server can carry it out (node/plan.py).
Each kind of table has its file here, and stands under this one name as well. Reading and cross-checking stand in
`sitefile.py`::

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

from typing import Annotated

from msgspec import Meta, field

from flashvisor.model.site.appliance import Appliance as Appliance
from flashvisor.model.site.guest import CloudInit as CloudInit
from flashvisor.model.site.guest import Firmware as Firmware
from flashvisor.model.site.guest import Guest as Guest
from flashvisor.model.site.network import Allow as Allow
from flashvisor.model.site.network import Bond as Bond
from flashvisor.model.site.network import BondMode as BondMode
from flashvisor.model.site.network import Forward as Forward
from flashvisor.model.site.network import Kind as Kind
from flashvisor.model.site.network import Network as Network
from flashvisor.model.site.network import Nic as Nic
from flashvisor.model.site.network import Protocol as Protocol
from flashvisor.model.site.network import Rule as Rule
from flashvisor.model.site.network import Uplink as Uplink
from flashvisor.model.site.running import Autostart as Autostart
from flashvisor.model.site.running import OnCrash as OnCrash
from flashvisor.model.site.running import OnFail as OnFail
from flashvisor.model.site.running import Probe as Probe
from flashvisor.model.site.running import Restarts as Restarts
from flashvisor.model.site.running import Wait as Wait
from flashvisor.model.site.storage import Storage as Storage
from flashvisor.model.site.words import Name, NetworkName, Table


class Node(Table, frozen=True, kw_only=True):
    """The server itself."""

    name: Name
    uplink: Uplink = Uplink()


class Image(Table, frozen=True, kw_only=True):
    """A file on the administrator's machine, relative to the site file, that guests start from."""

    file: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 hex digits in lower case")] | None = None


class Site(Table, frozen=True, kw_only=True):
    """One server, one file."""

    schema: Annotated[int, Meta(ge=1, le=1, description="the number 1: the version of the site file's format")]
    node: Node
    storage: dict[Name, Storage] = field(default_factory=dict)
    bond: dict[NetworkName, Bond] = field(default_factory=dict)
    network: dict[NetworkName, Network] = field(default_factory=dict)
    image: dict[Name, Image] = field(default_factory=dict)
    guest: dict[Name, Guest] = field(default_factory=dict)
