"""A real image is described, published, verified and put together again from its chunks; what is altered is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner

from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import WrongHashError
from flashvisor.flash.chunks import cut
from flashvisor.image.release import Title, describe
from flashvisor.image.trees import build_root
from flashvisor.model.release import Flavour, Memory, chunk_path
from flashvisor.trust.repository import Repository
from flashvisor.trust.roles import TUF_ROLES, RoleSigners
from flashvisor.trust.updates import Clocks, Wish, check_chunk, drive, verify

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.build import BuildResult
    from flashvisor.trust.updates import Want

pytestmark = pytest.mark.tools

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_from_image_to_image(built_image: BuildResult, tmp_path: Path) -> None:
    work, directory = tmp_path / "work", tmp_path / "releases"
    work.mkdir()
    efi = built_image.efi
    described = describe(efi, Title("flashvisor", "1.0", Flavour.KVM), work, build_root(open_cache()))
    for device in ("pci:v", "usb:v", "virtio:d"):
        assert any(pattern.startswith(device) for pattern in described.modaliases), device
    keys = {role: RoleSigners([CryptoSigner.generate_ed25519()]) for role in TUF_ROLES}
    Repository(directory, keys).publish(described, cut(efi.read_bytes()), NOW)

    def fetch(want: Want) -> bytes | None:
        path = directory / want.path
        return path.read_bytes() if path.exists() else None

    memory = Memory(root=(directory / "1.root.json").read_bytes())
    clocks = Clocks(wall=NOW.timestamp(), built=0)
    verdict = drive(verify(memory, clocks, Wish("flashvisor", Flavour.KVM)), fetch)
    assert verdict.manifest == described
    whole = hashlib.sha256()
    for chunk in verdict.manifest.chunks:
        data = (directory / chunk_path(chunk.sha256)).read_bytes()
        check_chunk(chunk, data)
        whole.update(data)
    assert whole.hexdigest() == verdict.manifest.sha256
    first = verdict.manifest.chunks[0]
    with pytest.raises(WrongHashError):
        check_chunk(first, bytes(first.length))
