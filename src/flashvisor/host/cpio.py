"""cpio: initramfs archives. Source: cpio(1), Documentation/driver-api/early-userspace/buffer-format.rst.

Uses the build root's cpio; the same files give the same bytes.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from flashvisor.host.bubblewrap import enter


def pack(tree: Path, work: Path, directory: str, output: str, *, epoch: int) -> None:
    """Packs `work/directory` into `work/output` in the "newc" format, all owned by root and dated `epoch`."""
    top = work / directory
    paths = sorted(str(path.relative_to(top)) for path in top.rglob("*"))
    for name in paths:
        os.utime(top / name, (epoch, epoch), follow_symlinks=False)
    argv = ["cpio", "--quiet", "--create", "--format=newc", "--reproducible", "--owner=+0:+0", f"--file=/mnt/{output}"]
    names = "".join(f"{name}\n" for name in paths)
    enter(tree, argv, binds={work: "/mnt"}, cwd=f"/mnt/{directory}", stdin=names)


def make_node(path: Path, major: int, minor: int) -> None:
    """Makes a character device that everyone may use, to be packed; only root can.

    Source: mknod(2); the numbers stand in Documentation/admin-guide/devices.txt.
    """
    os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
    path.chmod(0o666)
