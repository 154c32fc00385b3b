"""sgdisk: partition tables. Source: sgdisk(8); UEFI 2.10, 5.3 (GPT).

Example::

    make_table(image, "0fc6…", [Partition("fv-state", start=1 << 20, size=8 << 20, kind="…", guid="…")])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.host.run import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECTOR = 512  # bytes


@dataclass(frozen=True)
class Partition:
    """A row of the table: start and size in bytes (whole sectors), `kind` and `guid` as GUIDs."""

    label: str
    start: int
    size: int
    kind: str
    guid: str


def version() -> str:
    """Returns sgdisk's version line."""
    return run(["sgdisk", "--version"]).stdout.strip()


def make_table(device: Path, guid: str, partitions: Sequence[Partition]) -> None:
    """Writes a GPT, the same bytes for the same arguments; there must be none before.

    Args:
        device: A block device, or a file that has its size already.
        guid: The disk's GUID.
        partitions: In order.

    Raises:
        CommandFailedError: sgdisk refused.
    """
    argv: list[str | Path] = ["sgdisk", "--clear", f"--disk-guid={guid}", "--set-alignment=1"]
    for number, part in enumerate(partitions, 1):
        first = part.start // SECTOR
        argv += [
            f"--new={number}:{first}:{first + part.size // SECTOR - 1}", f"--typecode={number}:{part.kind}",
            f"--change-name={number}:{part.label}", f"--partition-guid={number}:{part.guid}",
        ]  # fmt: skip
    run([*argv, device])


def verify_table(device: Path) -> str:
    """Returns what sgdisk says of a table, after it found no fault in it.

    Raises:
        CommandFailedError: there is no table, or sgdisk found it damaged.
    """
    return run(["sgdisk", "--verify", "--print", device]).stdout
