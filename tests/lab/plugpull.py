"""A hand that pulls a server's plug at a moment that chance draws, some time after its console has said something.

Chance has a seed: the same one waits as long. What the server has done by then is its own affair; the write log tells::

    pull = pull_plug(server, after="stage=api", within=5.0, chance=Random(7))
    entries = server.resting_flash.writes()
    server.paths.flash.write_bytes(cut_flash(entries, base, chance))     # what no flush had asked for may be lost
    server.power_on()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.host.clock import ticks
from flashvisor.lab.writelog import Flag
from sim.flashsim import FlashSim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from flashvisor.lab.server import Server
    from flashvisor.lab.writelog import Entry

LIMIT = 300.0  # seconds, under emulation, on a busy machine


@dataclass(frozen=True)
class Pull:
    """What was waited for, and how many seconds after it the plug was pulled."""

    line: str
    delay: float


def pull_plug(
    server: Server, *, after: str, within: float, chance: Random, limit: float = LIMIT, since: int = 0
) -> Pull:
    """Pulls the plug at most `within` seconds after a line of the console matched a pattern.

    Args:
        server: It is on, and off afterwards.
        after: A regular expression, as `Server.wait_for` takes it.
        within: Seconds.
        chance: Draws the moment.
        limit: Seconds in which the line must come.
        since: Where in the log to start, from `Server.position`.

    Raises:
        WaitTimeoutError: the line did not come.
        ServerDiedError: the server went off before.
    """
    delay = chance.uniform(0, within)
    line = server.wait_for(after, limit, since=since)
    for _ in ticks(delay, delay):
        pass
    server.power_off()
    return Pull(line, delay)


def cut_flash(entries: Sequence[Entry], base: bytes, chance: Random) -> bytes:
    """Returns a flash as power might have left it: what waits for a flush arrived in part, in any order, or not.

    Args:
        entries: All that was written (`RestingFlash.writes`).
        base: The flash before.
        chance: Draws what arrived.
    """
    flash = FlashSim(len(base), content=base, chance=chance)
    for entry in entries:
        if entry.flags & Flag.FLUSH:
            flash.flush()
        if entry.data:
            flash.write(entry.offset, bytes(entry.data))
        if entry.flags & Flag.FUA:
            flash.flush()  # the simulated flash has no smaller one
    flash.cut()
    return bytes(flash.medium)
