"""`[storage.NAME]`: what guests' files live on."""

from __future__ import annotations

from flashvisor.model.site.words import Table


class Storage(Table, frozen=True, kw_only=True):
    """What guests' files live on: exactly one of the four.

    `serial` or `device` name a data disk of the server, by its serial number or its path under /dev; `raid1` names two
    by their serial numbers, which hold the same (software RAID); `nfs` names a directory that a server exports by NFS
    4.1 or newer, as in "nas.example:/vm".
    """

    serial: str | None = None
    device: str | None = None
    raid1: tuple[str, str] | None = None
    nfs: str | None = None
