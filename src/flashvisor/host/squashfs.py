"""squashfs-tools: the read-only compressed root. Source: mksquashfs(1); the build root's own version is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.host.bubblewrap import enter
from flashvisor.host.listing import SQUASHFS, Listed, parse

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 1 << 18  # bytes compressed together: larger is denser, and slower to read a little of (docs/adr/0014)


def pack(tree: Path, work: Path, directory: str, output: str, *, epoch: int) -> None:
    """Packs `work/directory` into `work/output`, xz with the x86 filter, all owned by root and dated `epoch`."""
    argv = ["mksquashfs", f"/mnt/{directory}", f"/mnt/{output}", "-noappend", "-quiet", "-no-progress", "-no-xattrs",
            "-all-root", "-comp", "xz", "-Xbcj", "x86", "-Xdict-size", "100%", "-b", str(BLOCK),
            "-mkfs-time", str(epoch), "-all-time", str(epoch)]  # fmt: skip
    enter(tree, argv, binds={work: "/mnt"})


def listing(tree: Path, work: Path, image: str) -> list[Listed]:
    """Lists `work/image`; its top directory is called "squashfs-root". Source: unsquashfs(1), -lln."""
    text = enter(tree, ["unsquashfs", "-lln", f"/mnt/{image}"], binds={work: "/mnt"}).stdout
    return [parse(line, SQUASHFS) for line in text.splitlines() if line]


def unpack(tree: Path, work: Path, image: str, directory: str) -> None:
    """Unpacks `work/image` into the new directory `work/directory`."""
    argv = ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-d", f"/mnt/{directory}", f"/mnt/{image}"]
    enter(tree, argv, binds={work: "/mnt"})
