"""What takes long to compile gives the same bytes when it is compiled a second time, elsewhere: `make reproduce`.

Half an hour on two cores, and therefore apart from `make test`, which takes these parts from the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.host.files import sha256_file
from flashvisor.image.cache import Cache
from flashvisor.image.kernel import kernel
from flashvisor.image.libraries import compiled
from flashvisor.image.libvirt import libvirt
from flashvisor.image.qemu import qemu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TREES = ("buildroot", "packages")


def compiled_kernel(cache: Cache) -> Path:
    return kernel(cache, open_keyring().module_key)


def gnutls(cache: Cache) -> Path:
    return compiled(cache, "gnutls28")


def digests(top: Path) -> dict[str, str]:
    """SHA-256 of each file by its path; of links, where they lead. Without the cache's own dot files."""
    paths = {str(path.relative_to(top)): path for path in top.rglob("*") if not path.is_dir() or path.is_symlink()}
    return {
        name: str(path.readlink()) if path.is_symlink() else sha256_file(path)
        for name, path in paths.items()
        if not name.startswith(".done")
    }


@pytest.mark.parametrize("part", [compiled_kernel, qemu, libvirt, gnutls])
def test_a_second_compilation_gives_the_same_bytes(part: Callable[[Cache], Path], tmp_path: Path) -> None:
    shared = open_cache()
    first = digests(part(shared))
    (tmp_path / "cache").mkdir()
    for name in TREES:
        (tmp_path / "cache" / name).symlink_to(shared.root / name)
    second = digests(part(Cache(tmp_path / "cache")))
    assert first
    assert second == first
