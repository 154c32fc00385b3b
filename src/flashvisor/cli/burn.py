"""`flashvisor burn`: writes a flash image to a device and proves that it arrived."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from flashvisor.cli.output import print_json
from flashvisor.cli.progress import progress
from flashvisor.cli.session import json_option
from flashvisor.flash.burn import burn, burn_work
from flashvisor.model.size import show_size


class BurnReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written; size in bytes."""

    device: str
    size: int
    sha256: str


@click.command("burn")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("device", type=click.Path(path_type=Path))
@click.option("--serial", help="The device's serial number; needed if it does not say that it is removable.")
@json_option
def command(image: Path, device: Path, serial: str | None, as_json: bool) -> None:
    """Write a flash image to a device, and read it back.

    IMAGE is build/kvm/flash.img. DEVICE is a whole device such as /dev/sdb: everything on it is lost.
    """
    with progress(f"Burning {device}", total=burn_work(image)) as advance:
        done = burn(image, device, serial, advance)
    report = BurnReport(device=str(done.device), size=done.size, sha256=done.sha256)
    if as_json:
        print_json(report)
        return
    click.echo(f"{report.device}: {show_size(report.size)} written and read back, SHA-256 {report.sha256}")
