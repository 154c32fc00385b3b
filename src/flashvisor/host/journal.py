"""journalctl: reads the journal, which lives in RAM. Source: journalctl(1), systemd.journal-fields(7).

Example::

read(lines=100, unit="flashvisor-agent.service")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flashvisor.host.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 30.0  # seconds


@dataclass(frozen=True)
class Entry:
    """A line of the journal. `seconds` since the kernel started (CLOCK_MONOTONIC), priority as in syslog(3)."""

    seconds: float
    unit: str
    priority: int
    text: str


class _Raw(msgspec.Struct, frozen=True):
    """The fields read, under journald's own names. A message that is not UTF-8 comes as a list of bytes."""

    monotonic: str = msgspec.field(default="0", name="__MONOTONIC_TIMESTAMP")
    unit: str = msgspec.field(default="", name="_SYSTEMD_UNIT")
    identifier: str = msgspec.field(default="", name="SYSLOG_IDENTIFIER")
    priority: str = msgspec.field(default="6", name="PRIORITY")
    message: str | list[int] | None = msgspec.field(default=None, name="MESSAGE")


def version() -> str:
    """Returns the first line of `journalctl --version`.

    Raises:
        ToolMissingError: journalctl is not installed.
    """
    return run(["journalctl", "--version"]).stdout.partition("\n")[0]


def read(*, lines: int, unit: str = "") -> list[Entry]:
    """Returns the newest lines of this boot, oldest first; of one unit only, if named.

    Raises:
        CommandFailedError: journalctl refused.
    """
    argv = ["journalctl", "--boot", "--output=json", "--no-pager", "--quiet", f"--lines={lines}"]
    return list(parse(run([*argv, *([f"--unit={unit}"] if unit else [])], timeout=TIMEOUT).stdout))


def parse(text: str) -> Iterator[Entry]:
    """Reads `journalctl -o json` text: one object a line; a line that is none is passed over."""
    for line in text.splitlines():
        try:
            raw = msgspec.json.decode(line, type=_Raw)
        except msgspec.MsgspecError:
            continue
        message = raw.message
        if isinstance(message, list):
            message = bytes(byte & 0xFF for byte in message).decode(errors="replace")
        yield Entry(
            seconds=int(raw.monotonic) / 1_000_000,
            unit=raw.unit or raw.identifier,
            priority=int(raw.priority),
            text=message or "",
        )
