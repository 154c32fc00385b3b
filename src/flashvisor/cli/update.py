"""`flashvisor update`: a release to a server, pushed from here or fetched by it; then the restart and the trial."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click
import msgspec

from flashvisor.api import trial
from flashvisor.api.flashtypes import Installed, SlotsReport, UpdateRequest
from flashvisor.cli.output import print_json, show_seconds
from flashvisor.cli.progress import progress
from flashvisor.cli.session import connector, json_option, node_option
from flashvisor.cli.trial_options import health_option, how_it_ends, probation_option
from flashvisor.errors import CommandLineError
from flashvisor.host import clock
from flashvisor.model.release import Flavour
from flashvisor.trust.repository import newest_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from flashvisor.api.client import Client
    from flashvisor.api.flashtypes import UpdateStep


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What `update --json` prints; `committed` is null if nobody waited for it. `seconds` from the command's start."""

    installed: Installed
    committed: bool | None = None
    seconds: float
    slots: SlotsReport | None = None


@click.command("update")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--url", default="", metavar="URL", help="Where the server fetches the release, instead of DIR.")
@click.option("--version", default="", metavar="V", help="This release, and not the newest; it may be older.")
@click.option("--name", default="flashvisor", show_default=True, help="The release's name.")
@click.option(
    "--flavour",
    type=click.Choice([flavour.value for flavour in Flavour]),
    default=None,
    help="Change the server to this hypervisor.",
)
@click.option("--force", is_flag=True, help="Also a release that failed on this server before.")
@probation_option
@health_option
@click.option("--watch/--no-watch", default=True, show_default=True, help="Wait until the trial has ended.")
@node_option
@json_option
def command(
    directory: Path | None,
    *,
    url: str,
    version: str,
    name: str,
    flavour: str | None,
    force: bool,
    probation: float,
    health_url: str,
    watch: bool,
    node: str,
    as_json: bool,
) -> None:
    """Bring a release to a server, from the directory DIR or a URL, and have it tried."""
    if bool(url) == bool(directory):
        raise CommandLineError("name either a directory of releases or --url")
    if directory:
        newest_root(directory)  # said here, before anybody is asked
    started = clock.monotonic()
    request = UpdateRequest(
        name=name,
        version=version,
        flavour=flavour or "",
        force=force,
        told=clock.wall(),
        url=url,
        probation=probation,
        health_url=health_url,
    )
    connect = connector(node)
    with connect() as client, _Phases() as phases:
        installed = client.update(request, directory, phases.step)
    if not as_json:
        _print_installed(installed)
    slots = _watch(connect, installed, probation) if watch and not installed.already else None
    seconds = clock.monotonic() - started
    committed = True if installed.already or slots else None
    if as_json:
        print_json(Outcome(installed=installed, committed=committed, seconds=seconds, slots=slots))
    elif slots:
        click.echo(f"release {installed.version} is committed in slot {slots.committed}, after {show_seconds(seconds)}")
    elif not installed.already:
        click.echo(f"the server restarts and tries it; {how_it_ends(probation, health_url)}")


def _watch(connect: Callable[[], Client], installed: Installed, probation: float) -> SlotsReport:
    with _Phases() as phases:
        return trial.watch(connect, installed, probation + trial.RESTART, phases.begin)


def _print_installed(installed: Installed) -> None:
    if installed.already:
        click.echo(f"release {installed.version} is what the server runs already")
        return
    click.echo(
        f"release {installed.version} is in its slot: {installed.downloaded:,} bytes came over the network, "
        f"{installed.reused:,} bytes of the image were there"
    )


class _Phases:
    """One bar after the other: each ends when the next one begins."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._words = ""
        self._done = 0
        self._advance: Callable[[int], None] = lambda _: None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def step(self, step: UpdateStep) -> None:
        """Shows a server's step."""
        if step.progress != self._words:
            self.begin(step.progress, step.total or None)
        self._advance(step.done - self._done)
        self._done = step.done

    def begin(self, words: str, total: int | None = None) -> None:
        """Ends a phase, begins the next."""
        self._stack.close()
        self._words, self._done = words, 0
        self._advance = self._stack.enter_context(progress(words, total))
