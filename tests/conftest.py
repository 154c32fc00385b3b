"""Shared by all tests: an owner's keys, made once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.image.build import build
from flashvisor.trust import keystore
from flashvisor.trust.keyring import Keyring, default_directory
from sim.nodekit import SITE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.image.build import BuildResult


# Time is not asserted: a busy machine is no bug.
settings.register_profile("flashvisor", deadline=None)
settings.load_profile("flashvisor")


@pytest.fixture(scope="session", autouse=True)
def machine_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lets tests use this machine's keyring, where it is of the first form, as `flashvisor keys upgrade` would make it.

    Only such a one can sign releases. The keys are the same, so the kernel from the cache is, too.
    """
    with pytest.MonkeyPatch.context() as patch:
        directory = default_directory()
        if directory.is_dir() and not (directory / keystore.STORE).exists():
            copy = tmp_path_factory.mktemp("machine") / "keys"
            shutil.copytree(directory, copy)
            Keyring.open(copy).locked_with(None).drop_first_form()
            patch.setenv("FLASHVISOR_KEYS", str(copy))
        yield


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """The owner's keyring."""
    return Keyring.create(tmp_path_factory.mktemp("owner") / "keys", "Owner Ltd")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Somebody else's keyring."""
    return Keyring.create(tmp_path_factory.mktemp("stranger") / "keys", "Stranger Ltd")


@pytest.fixture(scope="session")
def built_image(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """The finished image, from the cache as far as it is there.

    Built with this machine's own keyring, as `flashvisor build` does it: the key that modules are signed with is in
    the kernel, so another keyring would mean another kernel.
    """
    return build(open_cache(), open_keyring(), tmp_path_factory.mktemp("kvm"))


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """A site file with two guests, its two images and its key file beside it."""
    (tmp_path / "hello.efi").write_bytes(b"MZ" + bytes(3000))
    (tmp_path / "debian.qcow2").write_bytes(b"QFI\xfb" + bytes(5000))
    (tmp_path / "admin.pub").write_text(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGZVG4zsTrVkbVPTcUWhF0Cq4x0bVdJrGXg3n0mIcAj me\n"
    )
    path = tmp_path / "site.toml"
    path.write_text(SITE + DEBIAN)
    return path


DEBIAN = """
[image.debian]
file = "debian.qcow2"

[guest.debian]
image = "debian"
memory = "512MiB"
disk = "2GiB"
nics = [{ network = "inside" }]
cloud_init = { user = "admin", ssh_key_files = ["admin.pub"] }
"""
