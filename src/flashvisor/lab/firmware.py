"""Firmware variables for virtual servers that are the owner's from their first power-on.

Owns which certificates go where. How the file is written is host/virtfw.py's business::

    with enrolled(keyring) as variables:
        rack.up(ServerSpec(name="alpha", flash=flash, firmware_vars=variables))
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.host import virtfw
from flashvisor.lab.machine import FIRMWARE_VARS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.trust.keyring import Keyring


@contextmanager
def enrolled(keyring: Keyring) -> Iterator[Path]:
    """Yields a file of variables with the owner's PK, KEK and db, and Secure Boot on.

    Raises:
        CommandFailedError: this machine's OVMF has variables that virt-firmware cannot read.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)

        def put(file: str, pem: bytes) -> Path:
            (place / file).write_bytes(pem)
            return place / file

        certificates = virtfw.Certificates(
            owner=keyring.owner_guid,
            pk=put("PK.pem", keyring.certificate("PK")),
            kek=put("KEK.pem", keyring.certificate("KEK")),
            db=tuple(put(f"db{number}.pem", pem) for number, pem in enumerate(keyring.certificates("db"))),
        )
        virtfw.enrol(FIRMWARE_VARS, place / "vars.fd", certificates)
        yield place / "vars.fd"
