"""Which devices an image drives: patterns of modaliases, and how a device is held against them. Pure.

Owns the reading of the kernel's two lists. Does not own the devices of this machine (host/devices.py)::

    patterns = modaliases(Path("modules.alias").read_text(), Path("modules.builtin.modinfo").read_bytes())
    Patterns(patterns).cover("pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00")

Source: modules.alias(5), depmod(8), Documentation/kbuild/kbuild.rst (modules.builtin.modinfo).
"""

from __future__ import annotations

import re
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Buses whose devices have modaliases in sysfs. Other aliases name algorithms, file systems or device numbers.
BUSES = ("acpi", "hid", "i2c", "mdio", "mmc", "pci", "platform", "scsi", "spi", "usb", "virtio", "xen")
LOADABLE, BUILTIN = "modules.alias", "modules.builtin.modinfo"
_WILD = re.compile(r"[*?\[]")


def modaliases(loadable: str, builtin: bytes) -> tuple[str, ...]:
    """Returns the patterns of all devices that the kernel and its modules drive, sorted.

    Args:
        loadable: The text of modules.alias: lines of "alias PATTERN MODULE".
        builtin: modules.builtin.modinfo: "MODULE.KEY=VALUE", each ended by a zero byte.
    """
    lines = [line.split() for line in loadable.splitlines() if line.startswith("alias ")]
    patterns = {words[1] for words in lines if len(words) == 3}
    for item in builtin.decode().split("\0"):
        key, _, value = item.partition("=")
        if key.endswith(".alias"):
            patterns.add(value)
    return tuple(sorted(pattern for pattern in patterns if _is_device(pattern)))


class Patterns:
    """Patterns of devices, sorted by what they begin with: a server has dozens of devices, an image thousands."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._heads: dict[str, list[str]] = defaultdict(list)
        self._lengths: set[int] = set()
        for pattern in patterns:
            wild = _WILD.search(pattern)
            head = pattern[: wild.start()] if wild else pattern
            self._heads[head].append(pattern)
            self._lengths.add(len(head))

    def cover(self, modalias: str) -> bool:
        """Tells whether a pattern matches a device's modalias; upper and lower case differ."""
        heads = (modalias[:length] for length in self._lengths if length <= len(modalias))
        return any(fnmatchcase(modalias, pattern) for head in heads for pattern in self._heads.get(head, ()))


def _is_device(pattern: str) -> bool:
    bus, colon, _ = pattern.partition(":")
    return bool(colon) and bus.rstrip("*") in BUSES
