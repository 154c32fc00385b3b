"""virt-fw-vars: files of UEFI variables for virtual machines. Source: virt-fw-vars(1), package virt-firmware.

It comes with flashvisor's own Python environment, so it is called as a module of that::

    enrol(OVMF_VARS, output, Certificates(guid, pk=..., kek=..., db=(...,)))
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.host.run import run

if TYPE_CHECKING:
    import uuid
    from pathlib import Path

MODULE = "virt.firmware.vars"


@dataclass(frozen=True)
class Certificates:
    """What Secure Boot is to trust: PEM files, and the SignatureOwner's GUID."""

    owner: uuid.UUID
    pk: Path
    kek: Path
    db: tuple[Path, ...]


def enrol(template: Path, output: Path, certificates: Certificates) -> None:
    """Writes a copy of a variable file with the certificates enrolled and Secure Boot on.

    Raises:
        CommandFailedError: the template is no variable file of edk2's.
    """
    guid = str(certificates.owner)
    words: list[str | Path] = ["--set-pk", guid, certificates.pk, "--add-kek", guid, certificates.kek]
    for path in certificates.db:
        words += ["--add-db", guid, path]
    run([sys.executable, "-m", MODULE, "--input", template, *words, "--secure-boot", "--output", output])


def show(file: Path) -> str:
    """Returns the variables of a file in words.

    Raises:
        CommandFailedError: it is no variable file.
    """
    return run([sys.executable, "-m", MODULE, "--input", file, "--print", "--verbose"]).stdout
