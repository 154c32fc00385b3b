"""`[guest.NAME.appliance]`: what an appliance is told, as `cloud_init` tells it to a guest with a system of its own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from flashvisor.model.site.words import Table, Text

GuestPath = Annotated[
    str,
    Meta(
        pattern=r"^(/(?!\.\.?(/|$))[A-Za-z0-9._@+-]+)+$",
        max_length=255,
        description='an absolute path of letters, digits and ._@+-, as in "/etc/site.d/site.conf"',
    ),
]


class Appliance(Table, frozen=True, kw_only=True):
    """What an appliance gets from the site.

    `files` are texts by path, beside its own files or in their place. `files_from` are files on the administrator's
    machine, relative to the site file, by path; the command line puts their texts in as `files` before anything is
    sent (model/inline/), so a server never sees them.

    `address` is that of its first card, as in "192.0.2.2/24", with the gateway and at most two name servers; without
    it, the appliance asks for all of them by DHCP.
    """

    files: dict[GuestPath, Text] = field(default_factory=dict)
    files_from: dict[GuestPath, str] = field(default_factory=dict)
    address: str | None = None
    gateway: str | None = None
    dns: tuple[str, ...] = ()
