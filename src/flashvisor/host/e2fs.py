"""e2fsprogs: makes ext4 file systems. Source: mke2fs(8), ext4(5).

Example::

make_ext4(Path("/dev/nvme0n1"), label="fv-main")
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flashvisor.host.run import run

if TYPE_CHECKING:
    from pathlib import Path

LABEL_LIMIT = 16  # bytes, s_volume_name in ext4's superblock
TIMEOUT = 1800.0  # seconds; large slow disks


def version() -> str:
    """Returns the first line of `mke2fs -V` (which it writes to standard error).

    Raises:
        ToolMissingError: mke2fs is not installed.
    """
    said = run(["mke2fs", "-V"]).stderr
    return said.partition("\n")[0].strip()


def make_ext4(device: Path, *, label: str) -> None:
    """Makes an ext4 file system over the whole device. What it held is lost: the caller has proved it empty.

    Inode tables and journal are initialised lazily, so that a large disk takes seconds; the reserve for root is left
    out, for only root writes here.

    Raises:
        CommandFailedError: mke2fs refused (mounted, too small, cannot write).
    """
    if not re.fullmatch(r"[!-~]+", label) or len(label) > LABEL_LIMIT:
        raise RuntimeError(f"'{label}' is no ext4 label")
    argv = [
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-m",
        "0",
        "-L",
        label,
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
    ]
    run([*argv, device], timeout=TIMEOUT)
