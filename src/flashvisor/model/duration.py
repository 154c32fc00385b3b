"""Durations in seconds, written as people write them.

Example::

    parse_duration("30s") == 30.0
    show_duration(600.0) == "10 min"
"""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}  # seconds


def parse_duration(text: str) -> float:
    """Returns seconds for text such as "30s" or "10 m"; a unit is required.

    Raises:
        ValueError: not a duration.
    """
    match = re.fullmatch(r"(\d+) ?([a-z]+)", text)
    if not match or match[2] not in UNITS:
        raise ValueError(f'\'{text}\' is not a duration; write a whole number and a unit, as in "30s" or "10m"')
    return int(match[1]) * UNITS[match[2]]


def show_duration(seconds: float) -> str:
    """Returns a duration with the largest unit in which it is a whole number: ms, s, min or h."""
    for unit in ("h", "min", "s"):
        if seconds >= UNITS[unit] and seconds % UNITS[unit] == 0:
            return f"{seconds / UNITS[unit]:.0f} {unit}"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
