"""`flashvisor guest-image`: disk images for guests, made from Debian's packages."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from flashvisor.cli.buildtools import open_cache
from flashvisor.cli.output import print_fields, print_json
from flashvisor.cli.session import json_option
from flashvisor.image.guestdisk import DISK_SIZE, build_debian
from flashvisor.model.size import show_size

DEBIAN_OUTPUT = Path("build/guests/debian-13.qcow2")


class GuestImageReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `guest-image build --json` prints. Sizes in bytes."""

    file: str
    bytes: int
    disk_bytes: int


@click.group("guest-image")
def command() -> None:
    """Build disk images for guests."""


@command.group("build")
def build() -> None:
    """Build a disk image."""


@build.command("debian")
@click.option("--output", type=click.Path(path_type=Path), default=DEBIAN_OUTPUT, show_default=True)
@json_option
def debian(output: Path, as_json: bool) -> None:
    """Build Debian 13 with cloud-init and SSH, as a compressed qcow2 image. Needs root."""
    made = build_debian(open_cache(), output)
    report = GuestImageReport(file=str(made), bytes=made.stat().st_size, disk_bytes=DISK_SIZE)
    if as_json:
        print_json(report)
        return
    disk = f"{show_size(DISK_SIZE)}, and grows with the guest's disk"
    print_fields([("file", report.file), ("size", show_size(report.bytes)), ("disk", disk)])
