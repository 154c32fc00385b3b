"""Whether a guest that is asked again and again counts as answering. Pure: whoever asks keeps the clock.

Owns what follows from one answer or failure. Does not own asking (node/probes.py), or what follows from silence
(node/keeper.py)::

    health = Health(since=0.0)
    health = note(health, Pace(), ok=False, now=1.0)      # health.verdict is None: it is still starting
    health = note(health, Pace(), ok=True, now=9.0)       # Verdict.ANSWERS, until `failures` questions in a row failed
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from flashvisor.model.duration import parse_duration

if TYPE_CHECKING:
    from flashvisor.model.site import Probe


class Verdict(Enum):
    """What a guest is told to be."""

    ANSWERS = auto()
    SILENT = auto()


@dataclass(frozen=True)
class Pace:
    """How often a guest is asked, and what is made of it (model/site/running.py, Probe). Seconds."""

    interval: float = 10.0
    timeout: float = 2.0
    failures: int = 3
    start_period: float = 300.0


USUAL_PACE = Pace()


@dataclass(frozen=True)
class Health:
    """What is known of a guest.

    Args:
        since: When it was asked for the first time after its start, in seconds.
        verdict: What it was told to be last; None while it may still be starting.
        misses: Questions in a row that failed since it answered last.
    """

    since: float
    verdict: Verdict | None = None
    misses: int = 0


def pace_of(probe: Probe) -> Pace:
    """Returns the pace that a probe of the site asks for."""
    return Pace(
        interval=parse_duration(probe.interval),
        timeout=parse_duration(probe.timeout),
        failures=probe.failures,
        start_period=parse_duration(probe.start_period),
    )


def note(health: Health, pace: Pace, *, ok: bool, now: float) -> Health:
    """Returns what is known after one more answer, or one more question that failed."""
    if ok:
        return replace(health, verdict=Verdict.ANSWERS, misses=0)
    misses = health.misses + 1
    starting = health.verdict is not Verdict.ANSWERS
    silent = now - health.since >= pace.start_period if starting else misses >= pace.failures
    return replace(health, verdict=Verdict.SILENT if silent else health.verdict, misses=misses)
