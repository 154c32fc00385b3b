"""FlashSim: flash in memory that fails as real flash does.

Until `flush`, writes wait in a cache. When power is cut, each waiting write may have reached the medium wholly, in part
(at any byte, or any subset of its 512-byte sectors) or not at all, in any order: what happens is drawn from `chance`.

    flash = FlashSim(1 << 20, cut_after=7, chance=Random(1))
    with contextlib.suppress(PowerCut): ...use it...
    flash = flash.power_on()
    flash.flip(bit=123)
"""

from __future__ import annotations

from random import Random

SECTOR = 512  # bytes


class PowerCut(Exception):  # noqa: N818 it is an event, not an error
    """The plug was pulled."""


class FlashSim:
    """A FlashDevice in memory.

    Args:
        size: Bytes.
        content: What the medium holds; zeros if not given.
        cut_after: Pulls the plug at the write with this number (from 0); None never does.
        chance: Decides what reaches the medium.
    """

    def __init__(
        self, size: int, *, content: bytes | None = None, cut_after: int | None = None, chance: Random | None = None
    ) -> None:
        self.size = size
        self.medium = bytearray(content if content is not None else size)
        self.writes: list[tuple[int, int]] = []
        self.flushes = 0
        self.cut_after = cut_after
        self._chance = chance or Random(0)  # noqa: S311 it must be repeatable
        self._waiting: list[tuple[int, bytes]] = []
        self.powered = True

    def read(self, offset: int, length: int) -> bytes:
        """Sees what was written, flushed or not."""
        self._need_power()
        data = bytearray(self.medium[offset : offset + length])
        for start, new in self._waiting:
            low, high = max(start, offset), min(start + len(new), offset + length)
            if low < high:
                data[low - offset : high - offset] = new[low - start : high - start]
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Takes a write, or loses power."""
        self._need_power()
        assert 0 <= offset <= offset + len(data) <= self.size, "a write beyond the device"
        self._waiting.append((offset, bytes(data)))
        if self.cut_after is not None and len(self.writes) == self.cut_after:
            self.cut()
            raise PowerCut
        self.writes.append((offset, len(data)))

    def flush(self) -> None:
        """Everything waiting reaches the medium."""
        self._need_power()
        for offset, data in self._waiting:
            self.medium[offset : offset + len(data)] = data
        self._waiting.clear()
        self.flushes += 1

    def forget_cache(self) -> None:
        """Reads show the medium: whoever asks must have flushed."""
        assert not self._waiting, "the cache holds writes that were not flushed"

    def cut(self) -> None:
        """Pulls the plug: some of what waits reaches the medium."""
        self.powered = False
        waiting = self._waiting[:]
        self._chance.shuffle(waiting)
        for offset, data in waiting:
            self._settle(offset, data)

    def power_on(self, *, cut_after: int | None = None) -> FlashSim:
        """Returns a device on the same content."""
        return FlashSim(self.size, content=bytes(self.medium), cut_after=cut_after, chance=self._chance)

    def flip(self, bit: int) -> None:
        """Flips one bit of the medium, counted from its start."""
        self.medium[bit // 8] ^= 1 << bit % 8

    def _settle(self, offset: int, data: bytes) -> None:
        fate = self._chance.randrange(4)
        if fate == 0:
            return
        if fate == 1:
            data = data[: self._chance.randrange(len(data) + 1)]
        for start in range(0, len(data), SECTOR):
            if fate != 2 or self._chance.random() < 0.5:
                piece = data[start : start + SECTOR]
                self.medium[offset + start : offset + start + len(piece)] = piece

    def _need_power(self) -> None:
        if not self.powered:
            raise RuntimeError("the device has no power: use power_on()")
