"""The one way to run an external program: argv lists, no shell, and a failure that can be pasted.

Owns subprocess. Does not own any tool's arguments: each tool has its own module beside this one::

    run(["mkfs.ext4", "-q", device])
    text = run(["qemu-img", "info", path]).stdout
    follow(["qemu-img", "convert", "-p", ...], on_output=show, timeout=3600.0)
"""

from __future__ import annotations

import logging
import os
import select
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import CommandFailedError, CommandTimeoutError, ToolMissingError
from flashvisor.host import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 600.0  # seconds
PIECE = 4096  # bytes of output read at once
EVIDENCE_LINES = 20  # lines of a failed tool's output that an error shows


@dataclass(frozen=True)
class Completed:
    """What a program left: its output as text, and how to call it again."""

    stdout: str
    stderr: str
    command: str


def find(tool: str) -> str:
    """Returns the absolute path of a program; sbin directories count even when PATH leaves them out.

    Raises:
        ToolMissingError: it is not installed.
    """
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"])
    path = shutil.which(tool, path=places)
    if path is None:
        raise ToolMissingError(f"the program '{tool}' is not installed on this machine")
    return path


def run(  # noqa: PLR0913 - the one door to subprocess names all that a call can vary
    argv: Sequence[str | Path],
    *,
    stdin: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    log_to: Path | None = None,
    accept: Sequence[int] = (),
) -> Completed:
    """Runs a program to its end.

    Args:
        argv: Program and arguments. The program is looked up by `find`.
        stdin: Text given on standard input.
        cwd: Directory to run in.
        env: Variables added to the environment.
        timeout: Limit in seconds.
        log_to: A file that takes standard output and error as they come (for long builds); then
            `Completed.stdout` is empty.
        accept: Statuses beside 0 that are answers, not failures (blkid's 2: nothing found).

    Raises:
        ToolMissingError: the program is not installed.
        CommandFailedError: it ended with another status.
        CommandTimeoutError: it did not end in time; it was stopped.
    """
    words = [find(str(argv[0])), *(str(word) for word in argv[1:])]
    command = shlex.join(words)
    log.debug("run: %s", command)
    sink = log_to.open("ab") if log_to else None
    try:
        done = subprocess.run(
            words,
            input=stdin.encode(),
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            timeout=timeout,
            stdout=sink or subprocess.PIPE,
            stderr=subprocess.STDOUT if sink else subprocess.PIPE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandTimeoutError(f"{words[0]} did not end within {timeout:.0f} s", evidence=command) from error
    finally:
        if sink:
            sink.close()
    stdout = (done.stdout or b"").decode(errors="replace")
    stderr = (done.stderr or b"").decode(errors="replace")
    if done.returncode != 0 and done.returncode not in accept:
        said = log_to.read_text(errors="replace") if log_to else stderr + stdout
        raise _failed(words[0], done.returncode, command, said)
    return Completed(stdout=stdout, stderr=stderr, command=command)


def follow(
    argv: Sequence[str | Path], *, on_output: Callable[[str], None], timeout: float, accept: Sequence[int] = ()
) -> int:
    """Runs a program to its end, and hands over its standard output as it comes: for those that show progress.

    Args:
        argv: As for `run`.
        on_output: Hears each piece of output. What it raises ends the program.
        timeout: Limit in seconds.
        accept: Statuses beside 0 that are answers, not failures.

    Returns:
        Its status.

    Raises:
        ToolMissingError: the program is not installed.
        CommandFailedError: it ended with another status; its standard error is the evidence.
        CommandTimeoutError: it did not end in time; it was stopped.
    """
    words = [find(str(argv[0])), *(str(word) for word in argv[1:])]
    command = shlex.join(words)
    log.debug("run: %s", command)
    end = clock.monotonic() + timeout
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as process,
    ):
        try:
            _hand_over(process, on_output, end)
            status = process.wait(max(0.0, end - clock.monotonic()))
        except BaseException as error:
            process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandTimeoutError(f"{words[0]} did not end within {timeout:.0f} s", evidence=command) from error
            raise
        if status != 0 and status not in accept:
            said.seek(0)
            raise _failed(words[0], status, command, said.read().decode(errors="replace"))
    return status


def _hand_over(process: subprocess.Popen[bytes], on_output: Callable[[str], None], end: float) -> None:
    if process.stdout is None:
        raise RuntimeError("the program's output is no pipe")
    handle = process.stdout.fileno()
    while True:
        ready, _, _ = select.select([handle], [], [], max(0.0, end - clock.monotonic()))
        if not ready:
            raise subprocess.TimeoutExpired(process.args, 0)
        piece = os.read(handle, PIECE)
        if not piece:
            return
        on_output(piece.decode(errors="replace"))


def _failed(program: str, status: int, command: str, said: str) -> CommandFailedError:
    return CommandFailedError(
        f"{program} ended with status {status}",
        evidence="\n".join([command, *said.splitlines()[-EVIDENCE_LINES:]]),
        next_step="Paste the command above to see it fail by hand.",
    )
