"""The image's kernel with the least that it can start: how fast a server of ours could be at best.

Owns a flash image that is laid out as a real one, with a unified kernel image of the same kernel and command line
whose initramfs holds one static program (recipe/bare-init.c)::

    flash = bare_flash(cache, keyring)
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.flash.burn import make_flash_image
from flashvisor.host import cpio, ukify
from flashvisor.host.files import GIB, sha256_file
from flashvisor.image.build import CMDLINE, STUB_PACKAGE
from flashvisor.image.cache import Step, digest
from flashvisor.image.kernel import kernel
from flashvisor.image.nolibc import compile_program
from flashvisor.image.trees import build_root, installed
from flashvisor.image.workshop import EPOCH, workshop

if TYPE_CHECKING:
    from flashvisor.image.cache import Cache
    from flashvisor.trust.keyring import Keyring

SOURCE = Path(__file__).parent / "recipe/bare-init.c"
READY = r"bare: stage=init"  # what the program says
OS_RELEASE = "ID=bare\nNAME=bare\n"
LAYOUT = "2"  # count up when what flash/burn.py makes changes


def bare_flash(cache: Cache, keyring: Keyring) -> Path:
    """Returns the flash image in the cache.

    Args:
        cache: The build cache.
        keyring: The kernel is the image's own, so its modules' key has a part in it.

    Raises:
        FlashvisorError: a step failed.
    """
    tree = build_root(cache)
    linux = kernel(cache, keyring.module_key)
    source, release = SOURCE.read_text(), (linux / "release").read_text()

    def make(place: Path) -> None:
        with workshop(tree, place, cache.root / "logs/bench-bare.log") as shop:
            (shop.work / "initrd").mkdir()
            compile_program(shop, linux / "nolibc", source, "initrd/init")
            (shop.work / "initrd/init").chmod(0o755)
            cpio.pack(tree, shop.work, "initrd", "initrd.cpio", epoch=EPOCH)
            shutil.copyfile(linux / "bzImage", shop.work / "linux")
            ukify.build(tree, shop.work, ukify.Parts("linux", "initrd.cpio", CMDLINE, OS_RELEASE, release), "bare.efi")
            make_flash_image(shop.work / "bare.efi", place / "flash.img", [])

    versions = installed(tree)
    inputs = {name: versions[name] for name in (STUB_PACKAGE, "systemd-ukify", "gcc-14", "cpio")}
    inputs |= {"kernel": sha256_file(linux / "bzImage"), "init": digest(source), "cmdline": CMDLINE, "layout": LAYOUT}
    step = Step("bench-bare", inputs=inputs, build=make, title="Bare kernel", expected=2, space=GIB // 2)
    return cache.get(step) / "flash.img"
