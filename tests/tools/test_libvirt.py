"""Guests under the libvirt that the image ships, in earnest (sim/libvirtrig.py); the scenes: inside/scenes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.host import pe
from flashvisor.image import appliance
from sim.libvirtrig import Rig

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools

SCENES = ("from_start_to_forced_stop", "one_whose_qemu_is_killed_leaves_the_other_alone")


@pytest.fixture(scope="module")
def boot_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kernel and initrd of the appliance `hello`."""
    place = tmp_path_factory.mktemp("hello")
    image = appliance.build(open_cache(), open_keyring(), "hello", place).path
    table = pe.sections(image)
    files = {"kernel": place / "kernel", "initrd": place / "initrd"}
    pe.copy_section(image, table[".linux"], files["kernel"])
    pe.copy_section(image, table[".initrd"], files["initrd"])
    return files


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str, boot_files: dict[str, Path], tmp_path: Path) -> None:
    for name, path in boot_files.items():
        (tmp_path / name).hardlink_to(path)
    Rig(open_cache(), tmp_path).play(scene)
