"""Who signs which TUF role, as the owner's keyring provides it. Admin side only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer

ROLES = ("root", "targets", "snapshot", "timestamp")


@dataclass(frozen=True)
class RoleSigners:
    """The signers of one role, and how many of them must sign (m of n)."""

    signers: Sequence[Signer]
    threshold: int = 1
