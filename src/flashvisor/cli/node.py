"""`flashvisor node`: a server's report, its flash, its boots, its journal, its power, and names for servers."""

from __future__ import annotations

import click

from flashvisor.api.address import parse_address
from flashvisor.api.types import FirmwareWrite, LogLine, NodeReport, StorageReport
from flashvisor.cli.nodebook import NodeBook, default_path
from flashvisor.cli.nodeflash import print_wear, short_fields
from flashvisor.cli.output import print_fields, print_json, print_table, show_seconds, show_when
from flashvisor.cli.passphrase import ask, ask_pin
from flashvisor.cli.session import connect, json_option, node_option
from flashvisor.host import clock
from flashvisor.model.size import show_size
from flashvisor.trust import secureboot
from flashvisor.trust.keyring import Keyring, default_directory


@click.group("node")
def command() -> None:
    """Show, restart and name servers."""


@command.command("show")
@node_option
@json_option
def show(node: str, as_json: bool) -> None:
    """Show a server: boot timeline, cards, disks, protections, problems."""
    with connect(node) as client:
        report = client.node()
    if as_json:
        print_json(report)
    else:
        _print_report(report)


@command.command("wear")
@node_option
@json_option
def wear(node: str, as_json: bool) -> None:
    """Show what was written to a server's flash, why, and how long it will last."""
    with connect(node) as client:
        report = client.node().flash
    if as_json:
        print_json(report)
    else:
        print_wear(report)


@command.command("boots")
@node_option
@json_option
def boots(node: str, as_json: bool) -> None:
    """Show a server's last boots, newest first."""
    with connect(node) as client:
        found = client.boots()
    if as_json:
        print_json(found)
        return
    print_table(
        ["when", "image", "version", "slot", "ready after"],
        [
            [show_when(each.when), each.image_id, each.version, each.slot,
             "" if each.ready is None else show_seconds(each.ready)]
            for each in found
        ],
    )  # fmt: skip


@command.command("logs")
@click.option("--unit", default="", help="Only of this systemd unit.")
@click.option("--lines", type=click.IntRange(min=1), help="How many of the last lines.")
@node_option
@json_option
def logs(unit: str, lines: int | None, node: str, as_json: bool) -> None:
    """Show a server's journal, which lives in its RAM."""
    with connect(node) as client:
        journal = client.logs(unit=unit, lines=lines)
    if as_json:
        print_json(journal)
        return
    for line in journal:
        click.echo(_show_line(line))


@command.command("reboot")
@node_option
@json_option
def reboot(node: str, as_json: bool) -> None:
    """Stop all guests cleanly and restart the server."""
    _power(node, "reboot", as_json=as_json)


@command.command("poweroff")
@node_option
@json_option
def poweroff(node: str, as_json: bool) -> None:
    """Stop all guests cleanly and switch the server off."""
    _power(node, "poweroff", as_json=as_json)


@command.command("enrol")
@click.option("--yes", is_flag=True, help="Do not ask.")
@node_option
@json_option
def enrol(*, yes: bool, node: str, as_json: bool) -> None:
    """Put your Secure Boot keys into a server: it starts only what you have signed, from its next start on."""
    if not yes:
        click.confirm("From its next start on, the server starts only images that you have signed. Go on?", abort=True)
    keyring = Keyring.open(default_directory(), ask, ask_pin)
    with connect(node) as client:
        report = client.enrol([_write(each) for each in secureboot.enrolment(keyring, clock.now())])
    if as_json:
        print_json(report)
    else:
        click.echo("Your keys are in the firmware. Secure Boot is on after the next start: `flashvisor node reboot`.")


@command.command("release")
@click.option("--yes", is_flag=True, help="Do not ask.")
@node_option
@json_option
def release(*, yes: bool, node: str, as_json: bool) -> None:
    """Hand a server over: your keys leave its firmware, its memory is wiped, and it restarts as nobody's."""
    if not yes:
        click.confirm("The server will forget you, its site and its certificates; data disks stay. Go on?", abort=True)
    write = secureboot.release(Keyring.open(default_directory(), ask, ask_pin), clock.now())
    with connect(node) as client:
        client.release(_write(write))
        address = client.address
    if as_json:
        print_json({"address": address.authority, "released": True})
    else:
        click.echo(f"{address} is nobody's server now, and restarts. What is on its data disks is still there.")


@command.command("use")
@click.argument("name")
@click.argument("address", metavar="HOST[:PORT]")
@json_option
def use(name: str, address: str, as_json: bool) -> None:
    """Remember a server's address under a name, and make it the default."""
    book = NodeBook.load(default_path()).use(name, parse_address(address))
    if as_json:
        print_json({"default": book.default, "address": book.nodes[name].authority})
    else:
        click.echo(f"{name} is {book.nodes[name]}, and what commands mean without --node")


def _write(payload: secureboot.Payload) -> FirmwareWrite:
    return FirmwareWrite(name=payload.name, guid=str(payload.guid), attributes=payload.attributes, data=payload.data)


def _power(node: str, action: str, *, as_json: bool) -> None:
    with connect(node) as client:
        client.power(action)
        address = client.address
    if as_json:
        print_json({"address": address.authority, "action": action})
    else:
        click.echo(f"{address}: {action} under way")


def _print_report(report: NodeReport) -> None:
    free, total = show_size(report.memory_available), show_size(report.memory)
    print_fields(
        [
            ("name", report.name),
            ("version", f"{report.version} ({report.image_id})"),
            ("hypervisor", f"{report.hypervisor}, kernel {report.kernel}"),
            ("up", show_seconds(report.uptime)),
            ("processors", str(report.cpus)),
            ("memory", f"{free} free of {total}"),
            ("site", f"generation {report.site_generation}" + (", NOT CONFIRMED" if report.unconfirmed else "")),
            *short_fields(report.flash),
        ]
    )
    for problem in report.problems:
        click.echo(f"problem: {problem}")
    click.echo()
    print_table(["stage", "seconds"], [[stage.name, f"{stage.seconds:.2f}"] for stage in report.timeline])
    click.echo()
    print_table(
        ["card", "mac", "link", "driver", "addresses"],
        [[nic.name, nic.mac, "up" if nic.up else "down", nic.driver, ", ".join(nic.addresses)] for nic in report.nics],
    )
    click.echo()
    print_table(
        ["disk", "serial", "model", "size", "use"],
        [[disk.name, disk.serial, disk.model, show_size(disk.size), disk.use] for disk in report.disks],
    )
    if report.storages:
        click.echo()
        print_table(
            ["storage", "state", "size", "free", "guests"],
            [
                [each.name, each.state, show_size(each.size), show_size(each.free), _users(each)]
                for each in report.storages
            ],
        )
    click.echo()
    print_table(
        ["protection", "", "meaning"],
        [[item.name, "on" if item.on else "OFF", item.meaning] for item in report.protections],
    )


def _users(storage: StorageReport) -> str:
    return ", ".join(f"{name} (waits)" if name in storage.waiting else name for name in storage.guests)


def _show_line(line: LogLine) -> str:
    # Control characters in a log line must not reach the terminal.
    text = "".join(char if char.isprintable() else " " for char in line.text)
    return f"{line.seconds:10.2f}  {line.unit}: {text}"
