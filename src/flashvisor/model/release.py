"""A release: what its manifest says, and what a server remembers of all releases that it verified. Pure types.

Owns the manifest's form and the order of versions. Does not own signatures (trust/updates.py) or slots::

    manifest = decode_manifest(data)
    version_key(manifest.version) > version_key("0.9.12")
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from flashvisor.errors import UpdateFormatError

CHUNK_LIMIT = 131_072  # bytes: the longest chunk

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}$")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class Flavour(Enum):
    """The hypervisor in an image."""

    KVM = "kvm"
    XEN = "xen"


class Chunk(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A piece of an image: SHA-256 (hex) and length in bytes. Chunks follow each other without gaps."""

    sha256: Sha256
    length: Annotated[int, Meta(ge=1, le=CHUNK_LIMIT)]


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a release is: one image, the devices that it drives, and the chunks that it is downloaded in.

    `sha256` and `length` (bytes) are those of flashvisor.efi; whether it fits a slot is the server's to say.
    `modaliases` are patterns as in modules.alias.
    """

    name: Name
    version: Version
    flavour: Flavour
    sha256: Sha256
    length: Annotated[int, Meta(ge=1)]
    modaliases: tuple[str, ...]
    chunks: tuple[Chunk, ...]


class Memory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server remembers between updates; it stands in the state ring.

    Args:
        root: The trusted root metadata; at first the one that was burnt.
        timestamp: Newest version of timestamp metadata verified; 0 if none. Likewise `snapshot` and `targets`.
        issued: Newest signed time of issue verified, in seconds since 1970 UTC; never taken from a clock.
        release: Newest release verified, "" if none.
    """

    root: bytes
    timestamp: int = 0
    snapshot: int = 0
    targets: int = 0
    issued: int = 0
    release: str = ""


def version_key(version: str) -> tuple[int, ...]:
    """Returns what versions are compared by: "1.10" is newer than "1.9", and "1.0" is "1"; "" is older than all."""
    parts = [int(part) for part in version.split(".")] if version else []
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def decode_manifest(data: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        UpdateFormatError: it is not a manifest, or its chunks do not add up to its length.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise UpdateFormatError(f"the release manifest is not one: {error}") from error
    total = sum(chunk.length for chunk in manifest.chunks)
    if total != manifest.length:
        raise UpdateFormatError(f"the manifest's chunks hold {total} bytes, expected {manifest.length}")
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Writes a manifest as JSON; the same manifest always gives the same bytes."""
    return msgspec.json.encode(manifest, order="deterministic")


def chunk_path(sha256: str) -> str:
    """Returns where a repository keeps a chunk, relative to its directory."""
    return f"chunks/{sha256[:2]}/{sha256}"
