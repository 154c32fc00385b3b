"""Panics, watchdogs and agents under the image's own libvirt (sim/libvirtrig.py); the scenes: inside/running.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.host import cpio
from flashvisor.image.kernel import kernel
from flashvisor.image.nolibc import compile_program
from flashvisor.image.trees import build_root
from flashvisor.image.workshop import EPOCH, workshop
from sim.libvirtrig import Rig

pytestmark = pytest.mark.tools

SOURCE = Path(__file__).parent.parent / "inside/troubled.c"
SCENES = (
    "a_panic_ends_a_guest",
    "a_guest_that_is_to_be_kept_stays",
    "a_guest_that_hangs_is_reset",
    "an_agent_answers_or_not",
    "a_guest_without_a_channel_has_no_agent",
)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the image's kernel, and the initrd of a guest that gets into trouble."""
    place = tmp_path_factory.mktemp("troubled")
    cache = open_cache()
    tree, linux = build_root(cache), kernel(cache, open_keyring().module_key)
    with workshop(tree, place, place / "build.log") as shop:
        (shop.work / "initrd").mkdir()
        compile_program(shop, linux / "nolibc", SOURCE.read_text(), "initrd/init")
        cpio.pack(tree, shop.work, "initrd", "troubled", epoch=EPOCH)
        shop.keep("troubled", place)
    shutil.copyfile(linux / "bzImage", place / "kernel")
    return place


@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str, media: Path, tmp_path: Path) -> None:
    for name in ("kernel", "troubled"):
        (tmp_path / name).hardlink_to(media / name)
    (tmp_path / "initrd").hardlink_to(media / "troubled")
    Rig(open_cache(), tmp_path).play(scene)
