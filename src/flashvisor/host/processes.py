"""Processes that outlive the command that started them, and are stopped by a later one. Source: proc(5), pidfd_open(2).

A process number alone names nobody: the kernel gives it to the next process. A mark is number, start time and boot,
and whatever does not match it is never touched::

    mark = start_daemon(["swtpm", ..., "--daemon"], pid_file=path, log_to=log)
    alive(mark)                       # also from another process, days later
    wait_for_end(mark, limit=5.0)     # blocks on the event, True when it ended
    stop(mark)                        # that process, or nobody
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import CommandFailedError
from flashvisor.host.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GRACE = 5.0  # seconds between the request to end and the end by force
KILL_LIMIT = 10.0  # seconds that the kernel gets to clear away a killed process
START_LIMIT = 60.0  # seconds until a daemon must have gone to the background
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Of what follows the program's name in /proc/PID/stat: fields 3 (state) and 22 (start time in clock ticks).
STATE, START = 0, 19
ENDED_STATES = "ZX"  # a zombie has ended; its parent only has not heard yet


@dataclass(frozen=True)
class ProcessMark:
    """One process, never another one: `started` is in clock ticks since the boot that `boot` names."""

    pid: int
    started: int
    boot: str


def boot_id() -> str:
    """Returns the name that the kernel gave to this boot (random(4))."""
    return BOOT_ID.read_text().strip()


def mark(pid: int) -> ProcessMark | None:
    """Returns the mark of a running process, or None if there is none of that number."""
    found = _stat(pid)
    if found is None or found[0] in ENDED_STATES:
        return None
    return ProcessMark(pid, found[1], boot_id())


def alive(process: ProcessMark) -> bool:
    """Tells whether exactly this process still runs."""
    return mark(process.pid) == process


def start_daemon(argv: Sequence[str | Path], *, pid_file: Path, log_to: Path, cwd: Path | None = None) -> ProcessMark:
    """Starts a program that goes to the background by itself and writes its process number.

    It returns when the program says that it is ready, so what it listens on is there; it survives this process.

    Args:
        argv: Program and arguments, among them those that make it a daemon.
        pid_file: Where it writes its number.
        log_to: Takes its output.
        cwd: Directory that relative names in `argv` start from.

    Raises:
        ToolMissingError: the program is not installed.
        CommandFailedError: it ended instead, with an error or at once.
        CommandTimeoutError: it did not go to the background within START_LIMIT.
    """
    pid_file.unlink(missing_ok=True)
    done = run(argv, cwd=cwd, log_to=log_to, timeout=START_LIMIT)
    started = from_pid_file(pid_file)
    if started is None:
        raise CommandFailedError(f"{argv[0]} ended as soon as it was in the background", evidence=done.command)
    return started


def from_pid_file(pid_file: Path, *, mentions: str = "") -> ProcessMark | None:
    """Returns the mark of the process that a file names, if it runs and its command line holds the text `mentions`."""
    try:
        found = mark(int(pid_file.read_text()))
        words = Path(f"/proc/{found.pid}/cmdline").read_bytes() if found else b""
    except (OSError, ValueError):
        return None
    return found if mentions.encode() in words else None


def wait_for_end(process: ProcessMark, limit: float) -> bool:
    """Blocks until a process has ended, at most `limit` seconds. Returns whether it has."""
    with _handle(process) as handle:
        return handle is None or _ends(handle, limit)


def stop(process: ProcessMark, *, grace: float = GRACE) -> None:
    """Ends exactly this process: by request (SIGTERM), and by force after `grace` seconds; 0 means by force at once."""
    with _handle(process) as handle:
        if handle is None:
            return
        if grace > 0:
            _send(handle, signal.SIGTERM)
            if _ends(handle, grace):
                return
        _send(handle, signal.SIGKILL)
        _ends(handle, KILL_LIMIT)


def _stat(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name stands in parentheses and may hold anything, also parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[STATE], int(fields[START])


@contextmanager
def _handle(process: ProcessMark) -> Iterator[int | None]:
    # The handle first, the comparison second: from then on the number cannot be given to anyone else unnoticed.
    try:
        handle = os.pidfd_open(process.pid)
    except (ProcessLookupError, OverflowError):
        yield None
        return
    try:
        yield handle if alive(process) else None
    finally:
        os.close(handle)


def _send(handle: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return  # it ended first, which is what was wanted


def _ends(handle: int, limit: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(limit * 1000))  # milliseconds
