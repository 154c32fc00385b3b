"""An SSH key pair for trying guests out. Source: OpenSSH's PROTOCOL.key, RFC 8709.

Example::

    key = ensure_pair(Path("build/guests/id_ed25519"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from flashvisor.host.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

COMMENT = b"flashvisor-try"


def ensure_pair(path: Path) -> Path:
    """Makes an Ed25519 pair at `path` and `path`.pub unless both are there; returns the private key's path."""
    public = path.with_name(f"{path.name}.pub")
    if not (path.exists() and public.exists()):
        key = Ed25519PrivateKey.generate()
        write_atomic(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
        text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        write_atomic(public, text + b" " + COMMENT + b"\n")
    return path
