"""`flashvisor lab`: a rack of virtual servers with real firmware, on this machine."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flashvisor.cli import terminal_session
from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.cli.output import print_fields, print_json, print_table, show_seconds
from flashvisor.cli.progress import timed
from flashvisor.cli.session import json_option
from flashvisor.errors import CommandLineError
from flashvisor.image.labqemu import lab_qemu
from flashvisor.lab import accel
from flashvisor.lab.firmware import enrolled
from flashvisor.lab.machine import API_PORT, ServerSpec
from flashvisor.lab.rack import Rack, default_root
from flashvisor.model.size import parse_size

if TYPE_CHECKING:
    from flashvisor.lab.server import Server, ServerReport

FLASH = Path("build/kvm/flash.img")
NAME = "lab"


class SizeType(click.ParamType[int]):
    """A size with its unit, as in the site file."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns bytes."""
        try:
            return value if isinstance(value, int) else parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("lab")
def command() -> None:
    """Virtual servers to try things on: UEFI, Secure Boot, TPM, watchdog, 128 MB of flash, on one switch."""


@command.command("up")
@click.argument("name", default=NAME)
@click.option(
    "--flash",
    type=click.Path(path_type=Path),
    default=FLASH,
    show_default=True,
    help="The flash image; each server gets a copy.",
)
@click.option("--count", type=click.IntRange(min=1, max=99), default=1, help="As many servers: NAME1, NAME2, …")
@click.option("--memory", type=SizeType(), default="3GiB", show_default=True)
@click.option("--cpus", type=click.IntRange(min=1, max=64), default=2, show_default=True)
@click.option("--no-tpm", is_flag=True, help="Leave the TPM out.")
@click.option("--secure-boot", is_flag=True, help="Enrol the owner's keys: only images that they signed start.")
@json_option
def up(
    name: str, *, flash: Path, count: int, memory: int, cpus: int, no_tpm: bool, secure_boot: bool, as_json: bool
) -> None:
    """Put servers into the rack and power them on."""
    rack = Rack(default_root())
    if not accel.is_known(rack.root):
        with timed("asking whether KVM boots a guest on this machine", accel.LIMIT):
            accel.kvm_boots(rack.root)
    names = [name] if count == 1 else [f"{name}{number}" for number in range(1, count + 1)]
    qemu = lab_qemu(open_cache())
    common = ServerSpec(name=name, flash=flash, memory=memory, cpus=cpus, tpm=not no_tpm, qemu=qemu)
    with enrolled(open_keyring()) if secure_boot else nullcontext() as variables:
        if variables:
            common = replace(common, firmware_vars=variables)
        reports = [rack.up(replace(common, name=each)).report() for each in names]
    if as_json:
        print_json(reports)
        return
    for report in reports:
        _print_access(report)


@command.command("list")
@json_option
def list_servers(as_json: bool) -> None:
    """List the servers in the rack."""
    reports = [server.report() for server in Rack(default_root()).list()]
    if as_json:
        print_json(reports)
        return
    print_table(
        ["name", "state", "up for", "runs on", "API", "stage", "forwards"],
        [
            [
                report.name,
                report.state.value,
                "-" if report.uptime is None else show_seconds(report.uptime),
                report.accel.value if report.accel else "-",
                report.api,
                report.timeline[-1].name if report.timeline else "-",
                _forwards(report),
            ]
            for report in reports
        ],
    )


@command.command("power")
@click.argument("name")
@click.argument("action", type=click.Choice(["on", "off", "reset", "button"]))
@json_option
def power(name: str, action: str, as_json: bool) -> None:
    """Power a server.

    "off" pulls its plug, "button" asks its system to shut down, "reset" pulls the reset line.
    """
    server = _get(name)
    actions = {
        "on": server.power_on,
        "off": server.power_off,
        "reset": server.reset,
        "button": server.press_power_button,
    }
    actions[action]()
    _print_power(server, as_json=as_json)


@command.command("console")
@click.argument("name")
def console(name: str) -> None:
    """Connect this terminal to a server's serial console. Ctrl-] leaves it."""
    with _get(name).console() as line:
        click.echo(f"connected to {name}; Ctrl-] leaves", err=True)
        terminal_session.run(line)
    click.echo("", err=True)


@command.command("screen")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, writable=True))
def screen(name: str, file: Path) -> None:
    """Write what a server's screen shows to a PNG file."""
    _get(name).screenshot(file)
    click.echo(str(file))


@command.command("forward")
@click.argument("name")
@click.argument("port", type=click.IntRange(1, 65535))
@click.option("--from", "ours", type=click.IntRange(1, 65535), help="Our port; any free one if left out.")
@json_option
def forward(name: str, port: int, ours: int | None, as_json: bool) -> None:
    """Lead a TCP port of 127.0.0.1 to PORT of a server."""
    server = _get(name)
    found = server.forward(port, ours)
    if as_json:
        print_json({"name": name, "port": port, "host_port": found})
    else:
        click.echo(f"127.0.0.1:{found} leads to port {port} of {name}")


@command.command("down")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="All servers.")
@json_option
def down(name: str | None, everything: bool, as_json: bool) -> None:
    """Pull a server's plug and take it out of the rack, with its disks."""
    if (name is None) != everything:
        raise CommandLineError("give the NAME of a server, or --all")
    rack = Rack(default_root())
    names: tuple[str, ...] = ()
    if name is None:
        names = rack.down_all()
    else:
        rack.down(name)
        names = (name,)
    if as_json:
        print_json({"down": names})
    else:
        click.echo(f"taken out of the rack: {', '.join(names)}" if names else "the rack is empty")


def _get(name: str) -> Server:
    return Rack(default_root()).get(name)


def _print_power(server: Server, *, as_json: bool) -> None:
    report = server.report()
    if as_json:
        print_json(report)
    else:
        click.echo(f"{report.name} is {report.state.value}")


def _print_access(report: ServerReport) -> None:
    print_fields(
        [
            ("server", f"{report.name} ({report.accel.value if report.accel else report.state.value})"),
            ("API", f"https://{report.api}    flashvisor node show --node {report.api}"),
            ("console", f"flashvisor lab console {report.name}    (Ctrl-] leaves)"),
            ("screen", f"flashvisor lab screen {report.name} {report.name}.png"),
            ("serial log", report.serial_log),
            ("away with it", f"flashvisor lab down {report.name}"),
        ]
    )


def _forwards(report: ServerReport) -> str:
    return ", ".join(f"{ours}→{theirs}" for theirs, ours in report.forwards.items() if theirs != API_PORT) or "-"
