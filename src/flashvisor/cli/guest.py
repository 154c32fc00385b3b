"""`flashvisor guest`: the virtual machines of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flashvisor.cli import terminal_session
from flashvisor.cli.output import print_fields, print_json, print_table, show_seconds
from flashvisor.cli.session import connect, json_option, node_option
from flashvisor.model.size import show_size

if TYPE_CHECKING:
    from flashvisor.api.types import GuestReport

GRACE = 30.0  # seconds


@click.group("guest")
def command() -> None:
    """List, start, stop and look into guests."""


@command.command("list")
@node_option
@json_option
def list_guests(node: str, as_json: bool) -> None:
    """List all guests."""
    with connect(node) as client:
        guests = client.guests()
    if as_json:
        print_json(guests)
    else:
        print_guests(guests)


@command.command("show")
@click.argument("name")
@node_option
@json_option
def show(name: str, node: str, as_json: bool) -> None:
    """Show one guest."""
    with connect(node) as client:
        _print_guest(client.guest(name), as_json=as_json)


@command.command("start")
@click.argument("name")
@node_option
@json_option
def start(name: str, node: str, as_json: bool) -> None:
    """Start a guest."""
    with connect(node) as client:
        _print_guest(client.start_guest(name), as_json=as_json)


@command.command("stop")
@click.argument("name")
@click.option("--force", is_flag=True, help="Pull its plug at once.")
@click.option(
    "--grace", type=click.FloatRange(min=0), default=GRACE, show_default=True, metavar="SECONDS", help="Before force."
)
@node_option
@json_option
def stop(name: str, force: bool, grace: float, node: str, as_json: bool) -> None:
    """Stop a guest: ask it to shut down, and pull its plug if it has not after the grace time."""
    with connect(node) as client:
        _print_guest(client.stop_guest(name, force=force, grace=grace), as_json=as_json)


@command.command("console")
@click.argument("name")
@node_option
def console(name: str, node: str) -> None:
    """Connect this terminal to a guest's serial console. Ctrl-] leaves it."""
    with connect(node) as client, client.console(name) as line:
        click.echo(f"connected to {name}; Ctrl-] leaves", err=True)
        terminal_session.run(line)
    click.echo("", err=True)


def print_guests(guests: tuple[GuestReport, ...]) -> None:
    """Prints guests as a table."""
    print_table(
        ["name", "state", "image", "cpus", "memory", "addresses", "forwards", "answered", "problem"],
        [
            [
                guest.name,
                guest.state.value,
                guest.image,
                str(guest.cpus),
                show_size(guest.memory),
                ", ".join(guest.addresses),
                ", ".join(guest.forwards),
                _show_moment(guest.answered),
                guest.problem or _show_waits(guest),
            ]
            for guest in guests
        ],
    )


def _print_guest(guest: GuestReport, *, as_json: bool) -> None:
    if as_json:
        print_json(guest)
        return
    print_fields(
        [
            ("name", guest.name),
            ("state", guest.state.value),
            ("image", guest.image),
            ("processors", str(guest.cpus)),
            ("memory", show_size(guest.memory)),
            ("addresses", ", ".join(guest.addresses)),
            ("forwards", ", ".join(guest.forwards)),
            ("started", _show_moment(guest.started)),
            ("answered", _show_moment(guest.answered)),
            ("probe", guest.probe or "-"),
            ("restarts", str(guest.restarts)),
            ("watchdogs", str(guest.watchdogs)),
            ("last fault", f"{_show_moment(guest.failed)}: {guest.failure}" if guest.failure else "-"),
            ("problem", guest.problem or _show_waits(guest)),
        ]
    )


def _show_waits(guest: GuestReport) -> str:
    return f"waits {guest.waits}" if guest.waits else ""


def _show_moment(seconds: float | None) -> str:
    return "-" if seconds is None else f"{show_seconds(seconds)} after boot"
