"""Checks of when guests run: their turns, restarts and probes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from flashvisor.errors import StartRingError, UnknownReferenceError, WrongTypeError
from flashvisor.model.duration import parse_duration, show_duration
from flashvisor.model.problem import did_you_mean
from flashvisor.model.site import Autostart
from flashvisor.model.startorder import ring
from flashvisor.model.wiring import first_inside

if TYPE_CHECKING:
    from flashvisor.model.problem import Problems
    from flashvisor.model.site import Guest, Probe, Site

DAY = 86400.0  # seconds
HOUR = 3600.0  # seconds
PATTERN_LIMIT = 100  # characters
CHOICES_LIMIT = 6  # of | in a pattern: each may double what a line costs
# A guest writes what its pattern is held against. One repetition of one character costs at most its line's length,
# squared; two of them, one in the other, or one of a choice, would let a guest keep the server busy for ever.
REPETITION = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?|(?P<group>\)[*+{])|(?P<repeats>[*+{?])|(?P<or>\|)")
HTTP_PATH = re.compile(r"/[!-~]{0,200}")  # RFC 9112, 3.2.1, without spaces

# The bounds of each duration, in seconds.
BOUNDS = {"interval": (1.0, HOUR), "timeout": (0.1, 60.0), "start_period": (1.0, DAY)}


def check_running(site: Site, name: str, guest: Guest, found: Problems) -> None:
    """Checks when a guest runs."""
    path = f"guest.{name}"
    if isinstance(guest.autostart, Autostart):
        _duration(guest.autostart.delay, f"{path}.autostart.delay", 0.0, DAY, found)
        for other in guest.autostart.after:
            if other not in site.guest:
                what = f'{path}.autostart.after: no guest "{other}" is declared'
                found.add(UnknownReferenceError, what, step=did_you_mean(other, site.guest))
    if guest.restarts:
        _duration(guest.restarts.within, f"{path}.restarts.within", 1.0, DAY, found)
    if guest.probe:
        _probe(guest.probe, f"{path}.probe", found)
        asked = guest.probe.tcp is not None or guest.probe.http is not None
        if asked and first_inside(site, guest.nics) is None:
            expected = "a card in a network whose addresses the server gives out"
            found.add(WrongTypeError, f"{path}.probe: tcp and http expect {expected}, got none")


def check_rings(site: Site, found: Problems) -> None:
    """Checks that no guests wait for each other."""
    names = ring(site)
    if names:
        pairs = ", ".join(f"{one} waits for {other}" for one, other in pairwise(names))
        found.add(StartRingError, f"guest.{names[0]}.autostart: {pairs}")


def _duration(text: str, path: str, least: float, most: float, found: Problems) -> None:
    if not least <= parse_duration(text) <= most:
        bounds = f"{show_duration(least)} to {show_duration(most)}"
        found.add(WrongTypeError, f'{path}: expected {bounds}, got "{text}"')


def _probe(probe: Probe, path: str, found: Problems) -> None:
    kinds = {"tcp": probe.tcp, "http": probe.http, "serial": probe.serial, "agent": probe.agent or None}
    given = [kind for kind, value in kinds.items() if value is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        found.add(WrongTypeError, f"{path}: expected one of tcp, http, serial and agent = true, got {got}")
    if probe.http is None and (probe.port is not None or probe.expect is not None):
        found.add(WrongTypeError, f"{path}: expected port and expect only beside http")
    if probe.http is not None and not HTTP_PATH.fullmatch(probe.http):
        found.add(WrongTypeError, f'{path}.http: expected a path without spaces, as in "/health", got "{probe.http}"')
    if probe.serial is not None:
        _pattern(probe.serial, f"{path}.serial", found)
    for key, (least, most) in BOUNDS.items():
        _duration(getattr(probe, key), f"{path}.{key}", least, most, found)


def _pattern(text: str, path: str, found: Problems) -> None:
    found_in = tuple(REPETITION.finditer(text))
    counts = {kind: sum(match[kind] is not None for match in found_in) for kind in ("repeats", "group", "or")}
    simple = counts["repeats"] <= 1 and not counts["group"] and counts["or"] <= CHOICES_LIMIT
    if not simple or not 1 <= len(text) <= PATTERN_LIMIT:
        expected = (
            f"1 to {PATTERN_LIMIT} characters with at most {CHOICES_LIMIT} of | and one of * + ? {{}},"
            " and that not behind a group"
        )
        found.add(WrongTypeError, f'{path}: expected {expected}, got "{text}"')
        return  # a long one may be nested deeper than `re` can go
    try:
        re.compile(text.encode())
    except (re.error, OverflowError) as error:
        found.add(WrongTypeError, f'{path}: expected a regular expression, got "{text}" ({error})')
