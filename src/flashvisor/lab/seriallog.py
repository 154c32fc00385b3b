"""The serial console's log: what came, and when the lab saw it.

QEMU writes the log and stamps nothing. Whoever waits looks at it every LOOK seconds, and a stage line gets the time
of the look that found it, with the time since the look before as its uncertainty: small while somebody waits, and
told when nobody did::

    log = SerialLog(paths, power_on=power.since)
    log.look()
    log.moments()     # (Moment(name="firmware", seconds=4.71, within=0.05), ...)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from flashvisor.errors import RackStateError
from flashvisor.host import clock
from flashvisor.host.files import write_atomic
from flashvisor.host.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flashvisor.lab.machine import Paths

LOOK = 0.05  # seconds between two looks of somebody who waits
EVIDENCE_LINES = 30
FIRMWARE, KERNEL_START = "firmware", "kernel-start"  # stages that the lab itself names
# OVMF's word when it hands over, and the agent's stages. The agent's own time counts from the kernel's start.
STAGE_LINE = re.compile(rb"flashvisor: stage=(?P<name>[\w.-]+) t=(?P<own>\d+\.\d+)|(?P<firmware>BdsDxe: starting Boot)")
ESCAPE_SEQUENCE = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>c])")


class Moment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stage line on the serial console.

    Args:
        name: Of the stage; "firmware" is the moment at which the firmware starts what it found.
        seconds: When the lab saw it, since power-on.
        within: How much earlier it may have come, in seconds.
        own: The server's own time in the line: seconds since its kernel started.
        offset: Of the line in the log, in bytes.
    """

    name: str
    seconds: float
    within: float
    offset: int
    own: float | None = None


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    position: int = 0  # bytes of the log that were looked at
    looked: float = 0.0  # when, in seconds since power-on
    moments: tuple[Moment, ...] = ()


class Tail:
    """Reads what a growing file gained, from a line's start on."""

    def __init__(self, path: Path, position: int = 0) -> None:
        self._path = path
        self.position = position

    def read(self) -> bytes:
        """Returns everything from the first line that was not whole at the last call; its last line may grow yet."""
        try:
            with self._path.open("rb") as file:
                file.seek(self.position)
                data = file.read()
        except FileNotFoundError:
            return b""
        self.position += data.rfind(b"\n") + 1
        return data


class SerialLog:
    """The log of one power-on. `power_on` is in seconds of CLOCK_MONOTONIC."""

    def __init__(self, paths: Paths, power_on: float) -> None:
        self._paths = paths
        self._power_on = power_on
        record = self._record()
        self._tail = Tail(paths.serial_log, record.position)
        self._looked = record.looked

    def look(self) -> None:
        """Stamps the stage lines that came since the last look."""
        start = self._tail.position
        data = self._tail.read()
        now = clock.monotonic() - self._power_on
        whole = data[: self._tail.position - start]
        found = find_moments(whole, offset=start, seconds=now, within=now - self._looked)
        self._looked = now
        if found:
            self._keep(found)

    def moments(self) -> tuple[Moment, ...]:
        """Returns all stage lines seen so far, in their order on the console.

        Raises:
            RackStateError: the file that remembers them is damaged.
        """
        return self._record().moments

    def _keep(self, found: list[Moment]) -> None:
        with exclusive(self._paths.directory / "moments.lock"):
            record = self._record()
            # Another process may wait too, and may have stamped the same lines a little earlier.
            fresh = [moment for moment in found if moment.offset >= record.position]
            position = max(record.position, self._tail.position)
            new = _Record(position=position, looked=self._looked, moments=(*record.moments, *fresh))
            write_atomic(self._paths.moments, msgspec.json.encode(new))

    def _record(self) -> _Record:
        try:
            return msgspec.json.decode(self._paths.moments.read_bytes(), type=_Record)
        except FileNotFoundError:
            return _Record()
        except msgspec.MsgspecError as error:
            raise RackStateError(f"{self._paths.moments} cannot be read: {error}") from error


def find_moments(data: bytes, *, offset: int, seconds: float, within: float) -> list[Moment]:
    """Returns the stage lines in a piece of the log that starts at byte `offset`, all stamped alike. Pure."""
    moments = []
    for line in data.splitlines(keepends=True):
        if match := STAGE_LINE.search(line):
            name = FIRMWARE if match["firmware"] else match["name"].decode()
            own = float(match["own"]) if match["own"] else None
            moments.append(
                Moment(name=name, seconds=round(seconds, 3), within=round(within, 3), offset=offset, own=own)
            )
        offset += len(line)
    return moments


def settle(moments: Sequence[Moment]) -> tuple[Moment, ...]:
    """Puts all moments on the lab's clock, and adds "kernel-start", when the server's own clock was 0. Pure.

    Nothing on the console tells when the kernel's clock started; it is a line's time less the server's own time in
    it. Every line is seen at its time or later, so the smallest difference of a boot is the nearest. A stage that the
    agent reports only later (those before it ran) then gets the time at which it was reached.
    """
    told: list[Moment] = []
    for boot in _boots(moments):
        owned = [(moment.seconds - moment.own, moment) for moment in boot if moment.own is not None]
        if owned:
            start, source = min(owned, key=lambda pair: pair[0])
            boot.insert(boot.index(owned[0][1]), replace(source, name=KERNEL_START, own=0.0))
            boot = [m if m.own is None else replace(m, seconds=round(start + m.own, 3)) for m in boot]
        told += boot
    return tuple(told)


def _boots(moments: Sequence[Moment]) -> list[list[Moment]]:
    boots: list[list[Moment]] = []
    for moment in moments:
        if not boots or moment.name == FIRMWARE:
            boots.append([])
        boots[-1].append(moment)
    return boots


def last_lines(path: Path, count: int = EVIDENCE_LINES) -> str:
    """Returns a log's last lines that say anything, without the escape sequences of terminals (ECMA-48)."""
    if not path.exists():
        return ""
    text = ESCAPE_SEQUENCE.sub("", path.read_text(errors="replace"))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])
