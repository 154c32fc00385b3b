"""`flashvisor burn`: writes a flash image to a device here or at a server, and proves that it arrived."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from flashvisor.cli.output import print_json, print_table
from flashvisor.cli.progress import progress
from flashvisor.cli.session import connect, json_option
from flashvisor.errors import CommandLineError, DeviceError
from flashvisor.flash.burn import burn, burn_work
from flashvisor.model.size import show_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashvisor.api.types import Medium


class LocalBurn(msgspec.Struct, frozen=True, kw_only=True):
    """What was written; size in bytes."""

    device: str
    size: int
    sha256: str


@click.command("burn")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("device", type=click.Path(path_type=Path), required=False)
@click.option("--serial", help="The device's serial number; needed if it does not say that it is removable.")
@click.option("--via", metavar="HOST[:PORT]", help="Burn at this server, whose flash is lost, with all it remembers.")
@json_option
def command(image: Path, device: Path | None, serial: str | None, via: str | None, as_json: bool) -> None:
    """Write a flash image to a device, and read it back.

    IMAGE is build/kvm/flash.img. DEVICE is a whole device such as /dev/sdb: everything on it is lost. With --via it is
    a device of that server, and may be left out where only one fits.
    """
    if via is not None:
        _burn_via(via, image, device, serial, as_json=as_json)
        return
    if device is None:
        raise CommandLineError("DEVICE is missing", next_step="Name a whole device; `lsblk -d` lists them.")
    with progress(f"Burning {device}", total=burn_work(image)) as advance:
        done = burn(image, device, serial, advance)
    report = LocalBurn(device=str(done.device), size=done.size, sha256=done.sha256)
    if as_json:
        print_json(report)
        return
    click.echo(f"{report.device}: {show_size(report.size)} written and read back, SHA-256 {report.sha256}")


def _burn_via(node: str, image: Path, device: Path | None, serial: str | None, *, as_json: bool) -> None:
    work = burn_work(image)
    with connect(node) as client:
        media = client.media()
        if device is None and not as_json:
            _print_media(media)
        chosen = choose(media, device.name if device else None, serial)
        with progress(f"Burning {chosen} at {client.address}", total=work) as advance:
            report = client.burn(image, chosen, serial=serial or "", on_bytes=advance)
        address = client.address
    if as_json:
        print_json(report)
        return
    click.echo(f"{report.device}: {show_size(report.size)} written and read back, SHA-256 {report.sha256}")
    for note in report.notes:
        click.echo(f"note: {note}")
    if report.in_use:
        click.echo(f"{address} has its memory on it, and starts from it from now on")


def choose(media: Sequence[Medium], name: str | None, serial: str | None) -> str:
    """Returns the name of the device to burn. Pure.

    Args:
        media: What the server offers.
        name: What the user named, if anything; the server has the last word on it.
        serial: The serial number that the user gave, if any.

    Raises:
        DeviceError: nothing was named, and none or more than one fits.
    """
    if name is not None:
        return name
    fitting = [each for each in media if (each.serial == serial if serial else not each.refusal)]
    if len(fitting) == 1:
        return fitting[0].name
    what = f"with the serial number '{serial}'" if serial else "that fits"
    raise DeviceError(
        f"expected one device {what}, and the server has {len(fitting)}",
        evidence="\n".join(f"{each.name}: {each.refusal or 'fits'}" for each in media),
        next_step="Put one in, or name it: DEVICE, or --serial for one that does not say that it is removable.",
    )


def _print_media(media: Sequence[Medium]) -> None:
    print_table(
        ["device", "serial", "model", "size", ""],
        [[each.name, each.serial, each.model, show_size(each.size), each.refusal or "fits"] for each in media],
    )
