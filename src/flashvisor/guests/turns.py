"""Whose turn it is when the server starts its guests. Pure: the agent says what it sees, and asks when that changes.

Owns what a guest waits for, in words and until when. Does not own who comes before whom (model/startorder.py), or what
is done with a guest whose turn it is (supervise.py)::

    seen = {"db": Seen(Standing.STARTED, since=4.0), "web": Seen(Standing.COMING)}
    gate(site, "web", seen, began=1.0)                    # Gate(waits="for guest db to answer")
    seen["db"] = Seen(Standing.ANSWERS, since=9.0)
    gate(site, "web", seen, began=1.0)                    # Gate(due=9.0), and its `delay` later if it has one
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from flashvisor.model.duration import parse_duration
from flashvisor.model.site import Wait
from flashvisor.model.startorder import lower, turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashvisor.model.site import Site


class Standing(Enum):
    """What others, who wait for a guest, see of it."""

    DOWN = auto()  # nobody wants it to run now
    COMING = auto()  # it shall run, and waits for its turn
    FAILED = auto()  # it shall run, and crashed or could not be started
    STARTED = auto()  # it runs, and has not answered yet
    SILENT = auto()  # it runs, and does not answer although it should by now
    ANSWERS = auto()  # it runs and answers, or has nothing to answer with


@dataclass(frozen=True)
class Seen:
    """A guest's standing, and since when, in seconds of a clock that only grows."""

    standing: Standing
    since: float = 0.0


@dataclass(frozen=True)
class Gate:
    """What a guest waits for, "for guest db to answer"; else from when on it may start, in seconds of that clock."""

    waits: str = ""
    due: float = 0.0


GOOD: dict[Wait, frozenset[Standing]] = {
    Wait.STARTED: frozenset({Standing.STARTED, Standing.SILENT, Standing.ANSWERS}),
    Wait.ANSWERED: frozenset({Standing.ANSWERS}),
}

# What can still become good by itself.
ON_ITS_WAY = frozenset({Standing.COMING, Standing.STARTED})

WORDS = {
    Standing.DOWN: "for guest {}, which is down",
    Standing.COMING: "for guest {} to start",
    Standing.FAILED: "for guest {}, which failed",
    Standing.STARTED: "for guest {} to answer",
    Standing.SILENT: "for guest {}, which does not answer",
    Standing.ANSWERS: "for guest {}",
}

NOWHERE = Seen(Standing.DOWN)


def gate(site: Site, name: str, seen: Mapping[str, Seen], began: float) -> Gate:
    """Returns whether a guest may start.

    Whom `after` names must be there. Whose `order` is lower needs only to have had its turn: a guest that fails, or
    that waits for one that failed, does not hold up the rest of the server.

    Args:
        site: A site without rings.
        name: Of a guest in it.
        seen: All that is known of other guests; who is missing is down.
        began: When the server began to start its guests: a `delay` counts from there, or from when the last one that
            was waited for was there.
    """
    mine = turn(site.guest[name])
    since = [began]
    for other in mine.after:
        there = seen.get(other, NOWHERE)
        if there.standing not in GOOD[mine.wait]:
            return Gate(waits=WORDS[there.standing].format(other))
        since.append(there.since)
    for other in sorted(lower(site, name)):
        there = seen.get(other, NOWHERE)
        if there.standing is Standing.COMING and not is_stuck(site, other, seen):
            return Gate(waits=WORDS[there.standing].format(other))
        if there.standing in GOOD[Wait.STARTED]:
            since.append(there.since)
    return Gate(due=max(since) + parse_duration(mine.delay))


def is_stuck(site: Site, name: str, seen: Mapping[str, Seen]) -> bool:
    """Returns whether a guest waits, directly or not, for one that does not come by itself any more."""
    if name not in site.guest:
        return True
    mine = turn(site.guest[name])
    for other in mine.after:
        standing = seen.get(other, NOWHERE).standing
        if standing in GOOD[mine.wait]:
            continue
        if standing not in ON_ITS_WAY or (standing is Standing.COMING and is_stuck(site, other, seen)):
            return True
    return False
