"""squashfs-tools: the read-only compressed root. Source: mksquashfs(1); the build root's own version is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.host.bubblewrap import enter
from flashvisor.host.listing import SQUASHFS, Listed, parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BLOCK = 1 << 18  # bytes compressed together: larger is denser, and slower to read a little of (docs/adr/0014)


# All that shapes the bytes, and so belongs into the key of whatever is cached from them.
OPTIONS = ("-noappend", "-quiet", "-no-progress", "-no-xattrs", "-all-root", "-comp", "xz", "-Xbcj", "x86",
           "-Xdict-size", "100%", "-b", str(BLOCK))  # fmt: skip
SORT_FILE = "sort"


def pack(tree: Path, work: Path, directory: str, output: str, *, epoch: int, ranks: Mapping[str, int]) -> None:
    """Packs `work/directory` into `work/output`, xz with the x86 filter, all owned by root and dated `epoch`.

    Args:
        tree: Holds mksquashfs.
        work: The one directory that it writes to.
        directory: What is packed.
        output: The file to be made.
        epoch: Seconds since 1970.
        ranks: Absolute path inside to -32768 to 32767. Files with more lie nearer to the beginning; small ones with
            about as much share blocks, so that reading them in this order unpacks each block once.
    """
    (work / SORT_FILE).write_text("".join(f"{path.lstrip('/')} {rank}\n" for path, rank in ranks.items()))
    extra = ["-sort", f"/mnt/{SORT_FILE}", "-mkfs-time", str(epoch), "-all-time", str(epoch)]
    enter(tree, ["mksquashfs", f"/mnt/{directory}", f"/mnt/{output}", *OPTIONS, *extra], binds={work: "/mnt"})
    (work / SORT_FILE).unlink()


def listing(tree: Path, work: Path, image: str) -> list[Listed]:
    """Lists `work/image`; its top directory is called "squashfs-root". Source: unsquashfs(1), -lln."""
    text = enter(tree, ["unsquashfs", "-lln", f"/mnt/{image}"], binds={work: "/mnt"}).stdout
    return [parse(line, SQUASHFS) for line in text.splitlines() if line]


def unpack(tree: Path, work: Path, image: str, directory: str) -> None:
    """Unpacks `work/image` into the new directory `work/directory`."""
    argv = ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-d", f"/mnt/{directory}", f"/mnt/{image}"]
    enter(tree, argv, binds={work: "/mnt"})
