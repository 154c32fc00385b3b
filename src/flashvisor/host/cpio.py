"""cpio: initramfs archives. Source: cpio(1), Documentation/driver-api/early-userspace/buffer-format.rst.

Uses the build root's cpio; the same files give the same bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

from flashvisor.errors import StrangeImageError
from flashvisor.host.bubblewrap import enter
from flashvisor.host.listing import CPIO, Listed, parse

END = b"TRAILER!!!\0"  # name of a "newc" archive's last entry


def pack(tree: Path, work: Path, directory: str, output: str, *, epoch: int) -> None:
    """Packs `work/directory` into `work/output` in the "newc" format, all owned by root and dated `epoch`."""
    top = work / directory
    paths = sorted(str(path.relative_to(top)) for path in top.rglob("*"))
    for name in paths:
        os.utime(top / name, (epoch, epoch), follow_symlinks=False)
    argv = ["cpio", "--quiet", "--create", "--format=newc", "--reproducible", "--owner=+0:+0", f"--file=/mnt/{output}"]
    names = "".join(f"{name}\n" for name in paths)
    enter(tree, argv, binds={work: "/mnt"}, cwd=f"/mnt/{directory}", stdin=names)


def listing(tree: Path, work: Path, archive: str) -> list[Listed]:
    """Lists `work/archive`, and sees to it that nothing but zeros stands behind its end.

    The kernel reads on after an archive's end, and unpacks a second one if it is there; cpio does not.

    Raises:
        StrangeImageError: something stands behind the archive.
    """
    argv = ["cpio", "--quiet", "--list", "--verbose", "--numeric-uid-gid", f"--file=/mnt/{archive}"]
    listed = [parse(line, CPIO) for line in enter(tree, argv, binds={work: "/mnt"}).stdout.splitlines()]
    data = (work / archive).read_bytes()
    # The files' contents alone are this long, so that no file's content is taken for the end.
    end = data.find(END, sum(item.size for item in listed))
    behind = data[end + len(END) :].strip(b"\0")
    if end < 0 or behind:
        raise StrangeImageError(f"{archive}: {len(behind)} bytes stand behind the end of the first archive")
    return listed


def unpack(tree: Path, work: Path, archive: str, directory: str) -> None:
    """Unpacks `work/archive` into the new directory `work/directory`."""
    (work / directory).mkdir()
    argv = ["cpio", "--quiet", "--extract", "--make-directories", "--no-absolute-filenames", f"--file=/mnt/{archive}"]
    enter(tree, argv, binds={work: "/mnt"}, cwd=f"/mnt/{directory}")
