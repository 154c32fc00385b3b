"""The size ledger: every byte of the finished file belongs to a component, and the rows add up to the file.

The kernel and the boot parts are counted as they lie in the file. The root is compressed as a whole, so a
component's share of it is measured by compressing the component alone in the same blocks with the same filter, and
the shares are scaled to the root's real size (the scale is in the ledger; it is near 1)::

    ledger = account(efi_bytes, kernel_bytes, root_bytes, weights, recipe.limits())
    ledger.check()
"""

from __future__ import annotations

import lzma
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct

from flashvisor.errors import ComponentTooLargeError
from flashvisor.host.squashfs import BLOCK
from flashvisor.model.slot import IMAGE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from flashvisor.image.root import Entry

SLOT_GOAL = 24 << 20  # bytes
FILTERS = ({"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": BLOCK})
THREADS = 2


class Row(Struct, frozen=True, kw_only=True):
    """A component: its bytes in the file, its limit, and its files' bytes before compression."""

    name: str
    bytes: int
    limit: int
    raw_bytes: int


class Ledger(Struct, frozen=True, kw_only=True):
    """The whole file."""

    slot_bytes: int
    limit_bytes: int
    goal_bytes: int
    scale: float
    components: tuple[Row, ...]

    def check(self) -> None:
        """Compares every row with its limit, and the file with the slot.

        Raises:
            ComponentTooLargeError: names the component, or the file.
        """
        for row in self.components:
            if row.bytes > row.limit:
                raise ComponentTooLargeError(
                    f"component '{row.name}' has {row.bytes:,} bytes in the image, and its limit is {row.limit:,}"
                )
        if self.slot_bytes >= self.limit_bytes:
            raise ComponentTooLargeError(
                f"flashvisor.efi has {self.slot_bytes:,} bytes, and a slot takes {self.limit_bytes:,}"
            )


def weigh(entries: Sequence[Entry]) -> dict[str, tuple[int, int]]:
    """Returns component name to (compressed alone, raw) bytes."""
    groups: dict[str, list[Path]] = {}
    for entry in entries:
        groups.setdefault(entry.component, [])
        if entry.source:
            groups[entry.component].append(entry.source)
    return {name: _squeeze(paths) for name, paths in groups.items()}


def account(
    *,
    slot_bytes: int,
    kernel: tuple[int, int],
    root_bytes: int,
    weights: Mapping[str, tuple[int, int]],
    limits: Mapping[str, int],
) -> Ledger:
    """Gives every byte to a component.

    Args:
        slot_bytes: The finished, signed file.
        kernel: The kernel's bytes in it, and uncompressed.
        root_bytes: The SquashFS's bytes in it.
        weights: Component to (compressed alone, raw) bytes of what lies in the root.
        limits: Component to limit in bytes, in the order of rows.
    """
    scale = root_bytes / sum(alone for alone, _ in weights.values())
    shares = {name: int(alone * scale) for name, (alone, _) in weights.items()}
    largest = max(shares, key=lambda name: shares[name])
    shares[largest] += root_bytes - sum(shares.values())  # what rounding left, so that rows add up
    raw = {name: value for name, (_, value) in weights.items()} | {"kernel": kernel[1]}
    shares |= {"kernel": kernel[0], "boot": slot_bytes - kernel[0] - root_bytes}
    rows = [
        Row(name=name, bytes=shares.get(name, 0), limit=limit, raw_bytes=raw.get(name, shares.get(name, 0)))
        for name, limit in limits.items()
    ]
    return Ledger(
        slot_bytes=slot_bytes,
        limit_bytes=IMAGE_LIMIT,
        goal_bytes=SLOT_GOAL,
        scale=round(scale, 4),
        components=tuple(rows),
    )


def _squeeze(paths: Iterable[Path]) -> tuple[int, int]:
    data = b"".join(path.read_bytes() for path in paths)
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = pool.map(lambda block: len(lzma.compress(block, lzma.FORMAT_RAW, filters=FILTERS)), blocks)
        return sum(sizes), len(data)
