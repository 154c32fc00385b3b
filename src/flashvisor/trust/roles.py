"""What each key of the owner's keyring does, and what rotating it means for what the old one signed.

Owns the list of roles. Knows no key::

    ROLES["db"].does, ROLES["db"].rotated
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer

SECURE_BOOT_KEYS = ("PK", "KEK", "db")  # UEFI 2.10, 32.3: platform key, key exchange key, signature database
TUF_ROLES = ("root", "targets", "snapshot", "timestamp")  # TUF 1.0.33, 2.1
TUF = "tuf-"

NEXT_ROOT = (
    "The next root, which names the new key, is in the keyring. Servers hear of it, and trust the old key no longer,\n"
    "when your repository has it: `flashvisor release refresh DIR`. Make a new backup: an old one cannot publish."
)


@dataclass(frozen=True)
class Role:
    """What a key does, and what becomes of what the old one stands for when it is rotated."""

    does: str
    rotated: str
    keeps_private: bool = False


ROLES = {
    "ca": Role(
        "owner's CA: admits servers and administrators",
        "The old CA's certificate stays trusted beside the new one, by clients and by servers burned from now on.\n"
        "Servers burned before know the old CA only, and your client certificate is still of that one:\n"
        "burn them anew, then `flashvisor keys rotate admin`.",
    ),
    "admin": Role(
        "administrator's client certificate",
        "The old certificate stays valid until its own end: servers keep no list of withdrawn ones. If it was stolen,\n"
        "rotate `ca` too, and burn the servers anew.",
    ),
    "PK": Role(
        "Secure Boot PK: changes KEK",
        "The old PK's private key stays here: a server takes the new PK only under the old one's signature.\n"
        "`flashvisor keys export-public` writes PK.auth signed by the old PK as PK.update.auth.",
        keeps_private=True,
    ),
    "KEK": Role(
        "Secure Boot KEK: changes db",
        "Servers take the new KEK under PK's signature: `flashvisor keys export-public` writes KEK.auth.",
    ),
    "db": Role(
        "Secure Boot db: signs images",
        "The old certificate stays in db beside the new one, so images signed before still start. Give servers the\n"
        "new db (`flashvisor keys export-public` writes db.auth) before they get an image signed with the new key.",
    ),
    "modules": Role(
        "signs kernel modules",
        "Each image holds its own modules' certificate, so old images are not touched. The next build compiles the\n"
        "kernel anew.",
    ),
    "tuf-root": Role(
        "TUF root: names the keys of the other TUF roles",
        "The old private keys stay here: servers take the new root only under the old root's signatures too.\n"
        + NEXT_ROOT,
        keeps_private=True,
    ),
    "tuf-targets": Role("TUF targets: vouches for releases", NEXT_ROOT),
    "tuf-snapshot": Role("TUF snapshot: against mixing releases", NEXT_ROOT),
    "tuf-timestamp": Role("TUF timestamp: against frozen updates", NEXT_ROOT),
}


@dataclass(frozen=True)
class RoleSigners:
    """The signers of one role, and how many of them must sign (m of n)."""

    signers: Sequence[Signer]
    threshold: int = 1
