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

SCENES = (
    "from_start_to_forced_stop",
    "one_whose_qemu_is_killed_leaves_the_other_alone",
    "cards_in_vlans_are_taken",
    "a_disk_without_room_pauses_the_guest_until_there_is_some",
)


@pytest.fixture(scope="module")
def boot_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the appliance `hello` starts from, and `syslog`, which keeps something on a disk."""
    place = tmp_path_factory.mktemp("appliances")
    files = {}
    for name, prefix in (("hello", ""), ("syslog", "keeping-")):
        image = appliance.build(open_cache(), open_keyring(), name, place).path
        for section, part in ((".linux", "kernel"), (".initrd", "initrd"), (".cmdline", "cmdline")):
            files[f"{prefix}{part}"] = place / f"{prefix}{part}"
            pe.copy_section(image, pe.sections(image)[section], files[f"{prefix}{part}"])
    return files


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str, boot_files: dict[str, Path], tmp_path: Path) -> None:
    for name, path in boot_files.items():
        (tmp_path / name).hardlink_to(path)
    Rig(open_cache(), tmp_path).play(scene)
