"""The command `flashvisor`: finds the subcommand's module, runs it, and turns errors into exit statuses.

Owns the list of subcommands and the one error handler. Each subcommand lives in its own module, which exposes
`command` and is imported only when it is called::

    run(["guest", "list", "--json"]) == 0

A traceback means a bug: everything that is the world's fault arrives here as a FlashvisorError.
"""

from __future__ import annotations

import errno
import logging
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from flashvisor.cli.output import show_error
from flashvisor.errors import CommandLineError, FlashvisorError, NoSpaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Entry:
    """A subcommand: the module that holds it, and its line in `flashvisor --help`."""

    module: str
    summary: str


COMMANDS = {
    "try": Entry("try_", "Build, power on a virtual server, run the example site."),
    "build": Entry("build", "Build the image and its flash device."),
    "ledger": Entry("ledger", "Show what every byte of the image is for."),
    "appliance": Entry("appliance", "Build small guests that are one file."),
    "image": Entry("image", "Import disk images and appliances from elsewhere."),
    "guest-image": Entry("guestimage", "Build disk images for guests."),
    "burn": Entry("burn", "Write a flash image to a device."),
    "lab": Entry("lab", "Virtual servers to try things on."),
    "check": Entry("check", "Check a site file without touching a server."),
    "site": Entry("site", "Show the site that a server runs, or the site file's schema."),
    "apply": Entry("apply", "Bring a server to what a site file says."),
    "confirm": Entry("confirm", "Keep the site applied last."),
    "node": Entry("node", "Show, restart and name servers."),
    "attest": Entry("attest", "Ask a server's TPM what the server started."),
    "guest": Entry("guest", "List, start, stop and look into guests."),
    "keys": Entry("keys", "Make, show and keep the owner's keys."),
    "sign": Entry("sign", "Sign somebody else's image with the owner's key."),
    "slots": Entry("slots", "Show the images in a server's flash, and how a trial goes."),
    "rollback": Entry("rollback", "Go back to the image that ran before."),
    "factory-reset": Entry("factory_reset", "Go back to the image that the server was shipped with."),
    "release": Entry("release", "Publish, renew and show the releases that servers can update to."),
    "update": Entry("update", "Bring a release to a server, and have it tried."),
    "bench": Entry("bench", "Measure against a Debian server with libvirt."),
    "explain": Entry("explain", "Explain an error code."),
    "version": Entry("version", "Show the version."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries, and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands whose modules are installed."""
        del ctx
        return [name for name, entry in COMMANDS.items() if find_spec(f"flashvisor.cli.{entry.module}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"flashvisor.cli.{COMMANDS[cmd_name].module}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"flashvisor.cli.{COMMANDS[cmd_name].module}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup)
@click.option("--debug", is_flag=True, help="Show the programs that are called, as commands that can be pasted.")
def flashvisor(debug: bool) -> None:
    """A hypervisor in flash: one signed file under 32 MB, run from RAM."""
    if debug:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logger = logging.getLogger("flashvisor")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)


def run(arguments: Sequence[str]) -> int:
    """Runs a command line; returns its exit status.

    Errors go to standard error, or with `--json` as an ErrorReport to standard output.
    """
    as_json = "--json" in arguments
    try:
        status = flashvisor.main(list(arguments), prog_name="flashvisor", standalone_mode=False)
    except FlashvisorError as error:
        show_error(error, as_json=as_json)
        return error.exit_status
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return CommandLineError.exit_status
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "flashvisor"
        show_error(
            CommandLineError(error.format_message(), next_step=f"`{place} --help` lists what it takes."),
            as_json=as_json,
        )
        return CommandLineError.exit_status
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:
        # Any write may meet a full disk, however much was free when it began.
        if error.errno not in FULL:
            raise
        show_error(NoSpaceError(f"the disk filled up while writing {error.filename or 'a file'}"), as_json=as_json)
        return NoSpaceError.exit_status
    return status if isinstance(status, int) else 0


def main() -> None:
    """The program's entry point."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
