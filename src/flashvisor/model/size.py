"""Sizes in bytes, written as people write them.

Example::

    parse_size("512MiB") == 536_870_912
    show_size(536_870_912) == "512 MiB"
"""

from __future__ import annotations

import re

UNITS = {
    "B": 1,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}  # fmt: skip


def parse_size(text: str) -> int:
    """Returns bytes for text such as "512MiB" or "4 GiB" (IEC 80000-13 units; a unit is required).

    Raises:
        ValueError: not a size.
    """
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]+)", text)
    if not match or match[2] not in UNITS:
        raise ValueError(f'\'{text}\' is not a size; write a whole number and a unit, as in "512MiB" or "4GiB"')
    return int(match[1]) * UNITS[match[2]]


def show_size(value: int) -> str:
    """Returns a size with the largest binary unit that leaves at least 1, at most one decimal."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value >= UNITS[unit]:
            number = f"{value / UNITS[unit]:.1f}".removesuffix(".0")
            return f"{number} {unit}"
    return f"{value} B"
