"""Checks of `[storage.NAME]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.errors import ConflictError, WrongTypeError
from flashvisor.model.nfsexport import parse_export
from flashvisor.model.sitecheck.claims import claim

if TYPE_CHECKING:
    from flashvisor.model.problem import Problems
    from flashvisor.model.site import Site


def check_storage(site: Site, found: Problems) -> None:
    """Checks that each storage names one disk or export, and no other storage's."""
    users: dict[str, str] = {}
    for name, storage in site.storage.items():
        path = f"storage.{name}"
        given = [word for word in ("serial", "device", "raid1", "nfs") if getattr(storage, word) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            found.add(WrongTypeError, f"{path}: expected exactly one of serial, device, raid1 and nfs, got {got}")
        if storage.device is not None and not storage.device.startswith("/dev/"):
            found.add(WrongTypeError, f'{path}.device: expected a path under /dev, got "{storage.device}"')
        if storage.serial is not None and not storage.serial.strip():
            found.add(WrongTypeError, f'{path}.serial: expected a serial number, got "{storage.serial}"')
        if not all(serial.strip() for serial in storage.raid1 or ()):
            found.add(WrongTypeError, f"{path}.raid1: expected two serial numbers, got {list(storage.raid1 or ())}")
        for wish in filter(None, (storage.serial, storage.device, *(storage.raid1 or ()))):
            claim(users, wish, path, ConflictError, f'the disk "{wish}"', found)
        if storage.nfs is not None:
            claim(users, storage.nfs, path, ConflictError, f'the export "{storage.nfs}"', found)
            try:
                parse_export(storage.nfs)
            except ValueError as error:
                found.add(WrongTypeError, f"{path}.nfs: {error}")
