"""`[storage.NAME]`: what guests' files live on."""

from __future__ import annotations

from flashvisor.model.site.words import Table


class Storage(Table, frozen=True, kw_only=True):
    """A data disk of the server, named by its serial number or its path under /dev (exactly one)."""

    serial: str | None = None
    device: str | None = None
