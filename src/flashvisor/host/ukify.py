"""ukify: kernel, command line and initramfs as one UEFI executable. Source: ukify(1), UAPI.5 unified kernel image.

Uses the build root's ukify and systemd-stub, so that host and version do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.host.bubblewrap import enter

if TYPE_CHECKING:
    from pathlib import Path

STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"


@dataclass(frozen=True)
class Parts:
    """What a unified kernel image is made of. Paths are names within the work directory."""

    linux: str
    initrd: str
    cmdline: str
    os_release: str
    uname: str


def build(tree: Path, work: Path, parts: Parts, output: str) -> None:
    """Joins the parts into `work/output`, unsigned.

    Args:
        tree: The build root.
        work: A writable directory that holds the parts.
        parts: The parts.
        output: File name of the result, within `work`.
    """
    argv = ["ukify", "build", f"--stub={STUB}", f"--linux=/mnt/{parts.linux}", f"--initrd=/mnt/{parts.initrd}",
            f"--cmdline={parts.cmdline}", f"--os-release={parts.os_release}", f"--uname={parts.uname}",
            f"--output=/mnt/{output}"]  # fmt: skip
    enter(tree, argv, binds={work: "/mnt"})
