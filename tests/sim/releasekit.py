"""Releases as small as they can be, and a server that takes them from a directory, for the tests of publishing."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flashvisor.flash.chunks import cut
from flashvisor.model.release import Flavour, Manifest, Memory
from flashvisor.trust.repository import Repository
from flashvisor.trust.updates import Clocks, VerifiedRelease, Want, Wish, drive, verify

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CLOCKS = Clocks(wall=NOW.timestamp(), built=0)


def release(version: str) -> tuple[Manifest, bytes]:
    """A manifest and its image."""
    image = f"image {version}".encode() * 3000
    manifest = Manifest(
        name="flashvisor",
        version=version,
        flavour=Flavour.KVM,
        sha256=hashlib.sha256(image).hexdigest(),
        length=len(image),
        modaliases=("pci:v00008086d*",),
        chunks=tuple(chunk for chunk, _ in cut(image)),
    )
    return manifest, image


def repository(directory: Path, keyring: Keyring) -> Repository:
    """The owner's repository in a directory."""
    return Repository(directory, keyring.tuf_keys(), keyring.roots)


def publish(directory: Path, keyring: Keyring, version: str, now: datetime = NOW) -> None:
    """Publishes a release of this version."""
    manifest, image = release(version)
    repository(directory, keyring).publish(manifest, cut(image), now)


def take(directory: Path, memory: Memory) -> VerifiedRelease:
    """What a server takes from a directory for its newest release."""

    def fetch(want: Want) -> bytes | None:
        path = directory / want.path
        return path.read_bytes() if path.exists() else None

    return drive(verify(memory, CLOCKS, Wish("flashvisor", Flavour.KVM)), fetch)
