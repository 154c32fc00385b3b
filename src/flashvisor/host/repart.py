"""systemd-repart: a disk image with partitions and file systems, filled from a directory, without loop devices.

Uses the build root's systemd-repart, mkfs and mtools. Source: systemd-repart(8), repart.d(5)::

    make_disk(build_root, work, Disk(definitions="repart.d", seed=uuid, size=2 * GIB), source=tree, output="disk.raw")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.host.bubblewrap import enter

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

SECTOR = 512  # bytes; without it, FAT gets sectors of 4096 bytes, which firmware refuses on a disk of 512


@dataclass(frozen=True)
class Disk:
    """A disk to be made.

    Args:
        definitions: Name of the directory with repart.d(5) files, within the work directory.
        seed: All partitions' UUIDs follow from it.
        size: Bytes.
        ext4_uuid: Of every ext4 file system on it, so of one at most.
    """

    definitions: str
    seed: UUID
    size: int
    ext4_uuid: UUID


def make_disk(tree: Path, work: Path, disk: Disk, *, source: Path, output: str) -> None:
    """Writes `work/output`, a raw image with holes.

    Args:
        tree: The build root.
        work: A writable directory that holds the definitions.
        disk: What is made.
        source: The directory that CopyFiles= starts from.
        output: File name of the result, within `work`.

    Raises:
        CommandFailedError: a definition is wrong, or the files do not fit.
    """
    # SOURCE_DATE_EPOCH is left unset: files newer than it would be dated back to it, and Python compiles every module
    # anew whose file has another time than the one that its compiled form was made from.
    # The tables of inodes are holes already: without this, the guest's kernel writes them during its first minutes.
    # The last -E and -U count, and repart's own stand before these.
    mkfs = f"-U {disk.ext4_uuid} -E nodiscard,lazy_itable_init=0,hash_seed={disk.ext4_uuid}"
    argv = ["systemd-repart", "--empty=create", "--offline=yes", "--dry-run=no", "--no-pager",
            f"--definitions=/mnt/{disk.definitions}", f"--seed={disk.seed}", f"--size={disk.size}",
            "--copy-source=/srv", f"--sector-size={SECTOR}", f"/mnt/{output}"]  # fmt: skip
    env = {"SYSTEMD_REPART_MKFS_OPTIONS_EXT4": mkfs, "TMPDIR": "/mnt"}
    enter(tree, argv, binds={work: "/mnt", source: "/srv"}, env=env)
