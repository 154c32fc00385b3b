"""e2fsprogs: makes and checks ext4 file systems. Source: mke2fs(8), e2fsck(8), ext4(5).

Example::

make_ext4(Path("/dev/nvme0n1"), label="fv-main")
check(Path("/dev/nvme0n1"))      # before each mount
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from flashvisor.errors import CommandFailedError, DamagedDiskError
from flashvisor.host.run import run

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

LABEL_LIMIT = 16  # bytes, s_volume_name in ext4's superblock
TIMEOUT = 1800.0  # seconds; large slow disks
# e2fsck's status is a sum (e2fsck(8)). 1: repaired; 2: and whoever has it mounted should reboot, which nobody has.
# From 4 on it is not repaired, or could not even be looked at.
REPAIRED = (1, 2, 3)


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


def check(device: Path) -> None:
    """Checks a file system that is not mounted, and repairs what can be repaired without asking anyone.

    The journal of a server that lost its power is played back. One that then says it is clean takes no longer; one in
    which the kernel met an error is examined as a whole.

    Raises:
        DamagedDiskError: it cannot be repaired without losing something, or cannot be examined.
        CommandTimeoutError: it took too long.
    """
    try:
        done = run(["e2fsck", "-p", device], timeout=TIMEOUT, accept=REPAIRED)
    except CommandFailedError as error:
        raise DamagedDiskError(
            f"the file system on {device} is damaged, and e2fsck does not repair it by itself; it is not used",
            evidence=error.evidence,
        ) from error
    log.info("%s", done.stdout.strip())
