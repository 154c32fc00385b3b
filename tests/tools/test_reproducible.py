"""The same inputs give the same bytes: all that is ours is made a second time, elsewhere, and compared before signing.

What takes long to compile (kernel, QEMU, libvirt) and Debian's trees come from the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_keyring
from flashvisor.image.build import build
from flashvisor.image.cache import Cache, default_root
from flashvisor.image.libraries import LIBRARIES

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.build import BuildResult

pytestmark = pytest.mark.tools

KEPT = ("buildroot", "packages", "kernel", "qemu", "libvirt", *LIBRARIES)


def test_a_second_build_elsewhere_gives_the_same_bytes(built_image: BuildResult, tmp_path: Path) -> None:
    for name in KEPT:
        (tmp_path / "cache").mkdir(exist_ok=True)
        (tmp_path / "cache" / name).symlink_to(default_root() / name)
    again = build(Cache(tmp_path / "cache"), open_keyring(), tmp_path / "kvm")
    assert again.unsigned.is_relative_to(tmp_path)
    assert again.unsigned.read_bytes() == built_image.unsigned.read_bytes()
