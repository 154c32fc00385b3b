"""What of a keyring others may have: certificates, and Secure Boot's variables for firmware's setup screens. Pure.

Owns the files' names::

    files = export(keyring, now)      # {"ca.pem": b"...", "db.cer": ..., "db.esl": ..., "db.auth": ..., ...}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.trust import certificates, secureboot
from flashvisor.trust.roles import SECURE_BOOT_KEYS, TUF

if TYPE_CHECKING:
    from datetime import datetime

    from flashvisor.trust.keyring import Keyring


def export(keyring: Keyring, now: datetime) -> dict[str, bytes]:
    """Returns files by name.

    Args:
        keyring: Asks for its passphrase: the .auth files are signed.
        now: UTC, the .auth files' time: firmware takes only a later one than the last.
    """
    files = {"ca.pem": keyring.ca_pem, "modules.pem": keyring.certificate("modules")}
    for name in SECURE_BOOT_KEYS:
        pem = keyring.certificate(name)
        files |= {f"{name}.pem": pem, f"{name}.cer": certificates.to_der(pem)}
    files |= {f"{name}.esl": content for name, content in secureboot.contents(keyring).items()}
    files |= {f"{one.name}.auth": one.data for one in secureboot.enrolment(keyring, now)}
    if update := secureboot.platform_key_update(keyring, now):
        files["PK.update.auth"] = update.data
    keys = [key for key in keyring.store.keys if key.role.startswith(TUF) and key.private]
    for role in sorted({key.role for key in keys}):
        files[f"{role}.pub"] = "".join(key.public for key in keys if key.role == role).encode("ascii")
    files |= {f"{number}.root.json": root for number, root in enumerate(keyring.roots, 1)}
    return files
