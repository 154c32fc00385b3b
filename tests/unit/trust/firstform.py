"""Writes a keyring as flashvisor's first version did: plain files, for the tests of what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.trust.keystore import FIRST_PAIRS

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring


def write_first_form(keyring: Keyring, directory: Path) -> None:
    """Writes the keys of a keyring that is not encrypted."""
    directory.mkdir(exist_ok=True)
    (directory / "owner.txt").write_text(f"{keyring.owner}\n")
    (directory / "modules.pem").write_text(keyring.module_key)
    for role in FIRST_PAIRS:
        pair = keyring.pair(role)
        (directory / f"{role}.pem").write_bytes(pair.cert_pem)
        (directory / f"{role}.key").write_bytes(pair.key_pem)
