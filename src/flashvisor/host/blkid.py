"""blkid: what a block device holds. Source: blkid(8), low-level probing with `-p`.

Example::

probe(Path("/dev/nvme0n1"))   # Signature(kind="ext4", label="fv-main"), or None when nothing is found
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.host.run import run

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 60.0  # seconds


@dataclass(frozen=True)
class Signature:
    """What libblkid recognises on a device: a file system, a RAID or LVM member, or a partition table."""

    kind: str
    label: str = ""


def version() -> str:
    """Returns what `blkid --version` says.

    Raises:
        ToolMissingError: blkid is not installed.
    """
    return run(["blkid", "--version"]).stdout.strip()


def probe(device: Path) -> Signature | None:
    """Returns the signature of a device, or None when there is none. Reads only.

    A device with several signatures ends with status 8 (blkid(8)): it raises, and so is never taken for empty.

    Raises:
        CommandFailedError: the device cannot be read, or its signatures contradict each other.
    """
    done = run(["blkid", "-p", "-o", "export", device], timeout=TIMEOUT, accept=(2,))
    return parse_export(done.stdout)


def parse_export(text: str) -> Signature | None:
    """Returns the signature in `blkid -o export` text; None when it names neither a file system nor a table."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    kind = pairs.get("TYPE") or pairs.get("PTTYPE")
    return Signature(kind=kind, label=pairs.get("LABEL", "")) if kind else None
