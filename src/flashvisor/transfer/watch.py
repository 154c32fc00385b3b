"""How long work tells of its progress: a function that gives a context, in which bytes done are told.

Example::

    with watch("reading web.ova", 91_136) as advance:
        advance(4096)
        convert(..., on_percent=percents(advance, 91_136))
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Advance = Callable[[int], None]
# Title, and bytes in all if known. cli.progress.progress is one.
Watch = Callable[[str, int | None], AbstractContextManager[Advance]]


def percents(advance: Advance, total: int) -> Callable[[float], None]:
    """Returns a function that hears percents of `total` bytes, and tells them on as bytes."""
    done = 0

    def hear(percent: float) -> None:
        nonlocal done
        now = int(total * percent / 100)
        advance(now - done)
        done = now

    return hear
