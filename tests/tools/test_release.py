"""A real image is described, published, verified and put together again from its chunks; what is altered is refused."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.errors import WrongHashError
from flashvisor.host.files import sha256_file
from flashvisor.image.publication import Order, publish
from flashvisor.model.release import Flavour, Memory, chunk_path
from flashvisor.trust.keyring import Keyring
from flashvisor.trust.updates import check_chunk
from sim.releasekit import take

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.build import BuildResult

pytestmark = pytest.mark.tools


@pytest.fixture
def owner(tmp_path: Path) -> Keyring:
    """This machine's keyring, which the image is signed with, as a copy with keys for releases."""
    shutil.copytree(open_keyring().directory, tmp_path / "keys")
    copy = Keyring.open(tmp_path / "keys")
    return copy.locked_with(None) if copy.is_first_form else copy


def test_from_image_to_image(built_image: BuildResult, owner: Keyring, tmp_path: Path) -> None:
    directory, efi = tmp_path / "releases", built_image.efi
    memory = Memory(root=owner.founded().roots[-1])
    published = publish(efi, directory, owner, open_cache(), Order(version="1.0")).manifest
    assert published.flavour == Flavour.KVM
    for device in ("pci:v", "usb:v", "virtio:d"):
        assert any(pattern.startswith(device) for pattern in published.modaliases), device
    verdict = take(directory, memory)
    assert verdict.manifest == published
    whole = hashlib.sha256()
    for chunk in verdict.manifest.chunks:
        data = (directory / chunk_path(chunk.sha256)).read_bytes()
        check_chunk(chunk, data)
        whole.update(data)
    assert whole.hexdigest() == verdict.manifest.sha256 == sha256_file(efi)
    first = verdict.manifest.chunks[0]
    with pytest.raises(WrongHashError):
        check_chunk(first, bytes(first.length))
