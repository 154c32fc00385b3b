"""`[guest.NAME]`: a virtual machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from flashvisor.model.site.appliance import Appliance
from flashvisor.model.site.network import Forward, Nic, Rule
from flashvisor.model.site.running import Autostart, OnCrash, Probe, Restarts
from flashvisor.model.site.words import Name, Size, Table


class Firmware(StrEnum):
    """What starts a guest that has its own disk."""

    BIOS = "bios"
    UEFI = "uefi"


class CloudInit(Table, frozen=True, kw_only=True):
    """What cloud-init in the guest is told (NoCloud datasource).

    `ssh_key_files` are files on the administrator's machine, relative to the site file; the command line puts their
    text in as `ssh_keys` before anything is sent (model/inline/), so a server never sees them.
    """

    user: Name = "admin"
    ssh_keys: tuple[str, ...] = ()
    ssh_key_files: tuple[str, ...] = ()
    hostname: Name | None = None


class Guest(Table, frozen=True, kw_only=True):
    """A virtual machine. Its `firewall`, if there is one, lets in what its rules say, and answers; all goes out."""

    image: Name
    memory: Size
    cpus: Annotated[int, Meta(ge=1, le=255, description="a whole number, 1 to 255")] = 1
    firmware: Firmware = Firmware.UEFI
    disk: Size | None = None
    storage: Name | None = None
    autostart: bool | Autostart = True
    on_crash: OnCrash = OnCrash.RESTART
    restarts: Restarts | None = None
    probe: Probe | None = None
    nics: tuple[Nic, ...] = ()
    forwards: tuple[Forward, ...] = ()
    firewall: tuple[Rule, ...] | None = None
    cloud_init: CloudInit | None = None
    appliance: Appliance | None = None
