"""The only module that reads the clock. An operation reads it once and passes the value down.

Example::

    now = wall()            # seconds since 1970, UTC
    since = boot_seconds()  # seconds since the kernel started
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def wall() -> float:
    """Seconds since 1970-01-01 UTC. May jump."""
    return time.time()


def now() -> datetime:
    """The time of day in UTC. May jump."""
    return datetime.now(tz=UTC)


def boot_seconds() -> float:
    """Seconds since the kernel started, suspend included (CLOCK_BOOTTIME, clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def monotonic() -> float:
    """Seconds that only ever grow, for limits and durations."""
    return time.monotonic()


def ticks(interval: float, limit: float) -> Iterator[float]:
    """Yields the seconds passed, at once and then every `interval` seconds, until `limit` seconds have passed.

    For asking something far away that cannot call back (a server that is booting).
    """
    start = monotonic()
    while (passed := monotonic() - start) < limit:
        yield passed
        time.sleep(interval)
