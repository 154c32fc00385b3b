"""Progress on standard error: a bar with the remaining time on a terminal, plain lines elsewhere.

Owns how waiting looks. Knows nothing of what is waited for::

    with progress("uploading hello.efi", total=size) as advance:
        client.upload_image(path, on_bytes=advance)
    with progress("waiting for the server", total=None): ...
    with timed("compiling the kernel", expected=700.0): ...
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from flashvisor.cli.output import show_seconds
from flashvisor.host import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType

STEP = 10  # percent between two plain lines
FULL = 100  # percent


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows that work goes on.

    Args:
        title: What is being done.
        total: Bytes in all; None if nobody knows: then the time passed is shown.

    Yields:
        A function that hears how many bytes more are done.
    """
    if not sys.stderr.isatty():
        with _plain(title, total) as advance:
            yield advance
        return
    known = [BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn()]
    columns = [TextColumn("{task.description}"), *(known if total else [SpinnerColumn(), TimeElapsedColumn()])]
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=total or None)
        yield lambda count: bars.advance(task, count)


@contextmanager
def timed(title: str, expected: float) -> Iterator[None]:
    """Shows work that reports nothing while it runs, against the seconds that it is expected to take."""
    if not sys.stderr.isatty():
        with _plain(f"{title} (about {show_seconds(expected)})", None):
            yield
        return
    columns = [TextColumn("{task.description}"), BarColumn(), _Left()]
    with _Clockwork(*columns, console=Console(stderr=True)) as bars:
        bars.add_task(title, total=max(expected, 0.1))
        yield


class _Clockwork(Progress):
    """Bars that time itself moves; none fills up before its work has ended."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            if task.total and task.elapsed is not None:
                task.completed = min(task.elapsed, 0.99 * task.total)
        return super().get_renderables()

    def __exit__(self, *details: object) -> None:
        for task in self.tasks:
            task.total = task.elapsed or 1.0
        super().__exit__(*details)  # type: ignore[arg-type]


class _Left(ProgressColumn):
    """The time left by expectation."""

    def render(self, task: Task) -> Text:
        elapsed, total = task.elapsed or 0.0, task.total or 0.0
        if elapsed < total:
            return Text(f"{show_seconds(round(total - elapsed))} left")
        return Text(f"{show_seconds(round(elapsed))}, longer than expected")


@contextmanager
def _plain(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Lines for logs: the start, every tenth of a known total, the end."""
    started = clock.monotonic()
    done = shown = 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        percent = done * FULL // total if total else 0
        if shown + STEP <= percent < FULL:
            shown = percent - percent % STEP
            left = (clock.monotonic() - started) * (total or 0) / done - (clock.monotonic() - started)
            click.echo(f"{title}: {shown} %, {show_seconds(left)} left", err=True)

    click.echo(f"{title} …", err=True)
    yield advance
    click.echo(f"{title}: done in {show_seconds(clock.monotonic() - started)}", err=True)
