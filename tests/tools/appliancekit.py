"""Builds an appliance for a test, takes it apart as a server does, and starts it with the memory it is said to need.

Example::

    parts = take_apart("dns", directory, Appliance(files={SETTINGS: "cache-size=5"}))
    with boot(directory, parts.hardware(disk=None), forwards=["udp:53"]) as running: ...
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.guests.kernelline import address_words, completed
from flashvisor.host import cpio, pe
from flashvisor.host.bubblewrap import enter
from flashvisor.image import appliance, catalogue
from flashvisor.image.trees import build_root
from flashvisor.model.site import Appliance
from flashvisor.model.size import parse_size
from flashvisor.node.guestoverlay import with_files
from flashvisor.node.images import BootFiles

if TYPE_CHECKING:
    from pathlib import Path

LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"


@dataclass(frozen=True)
class Parts:
    """An appliance as a server starts it."""

    recipe: catalogue.Appliance
    size: int
    boot: BootFiles

    def hardware(self, *, disk: Path | None = None, memory: int | None = None) -> list[str]:
        """Returns QEMU's arguments; `memory` in bytes is what the catalogue says if it is left out."""
        need = memory or parse_size(self.recipe.memory)
        argv = ["-m", f"size={need // 2**20}M", "-smp", "1", "-kernel", str(self.boot.kernel)]
        argv += ["-initrd", str(self.boot.initrd), "-append", self.boot.cmdline]
        if disk:
            argv += ["-drive", f"if=none,id=disk,format=raw,file={disk}", "-device", "virtio-blk-pci,drive=disk"]
        return argv


def take_apart(name: str, directory: Path, wish: Appliance | None = None) -> Parts:
    """Builds an appliance, and puts what it starts from into a directory, with what a site tells it."""
    wish = wish or Appliance()
    made = appliance.build(open_cache(), open_keyring(), name, directory)
    table = pe.sections(made.path)
    for section in ("linux", "initrd", "cmdline"):
        pe.copy_section(made.path, table[f".{section}"], directory / section)
    words = (directory / "cmdline").read_bytes().rstrip(b"\0\n").decode()
    boot = BootFiles(directory / "linux", directory / "initrd", completed(words, address_words(wish, name)))
    return Parts(made.recipe, made.size, with_files(boot, wish.files, directory))


def assert_nobody_can_log_in(parts: Parts) -> None:
    """Only init, the service and the dynamic linker can be run; nothing is setuid, or can be written by others."""
    root, place = build_root(open_cache()), parts.boot.kernel.parent
    # zstd reads xz, too.
    enter(root, ["zstd", "-q", "-d", "-f", "initrd", "-o", "initrd.cpio"], binds={place: "/mnt"}, cwd="/mnt")
    listed = cpio.listing(root, place, "initrd.cpio")
    wanted = {"init", LOADER, *(path.lstrip("/") for path in parts.recipe.programs)}
    if parts.recipe.keeps:
        wanted |= {path.lstrip("/") for path in appliance.DISK_PROGRAMS}
    assert {item.path for item in listed if stat.S_ISREG(item.mode) and item.mode & 0o111} == wanted
    assert not [item.path for item in listed if not stat.S_ISLNK(item.mode) and item.mode & 0o6022]
