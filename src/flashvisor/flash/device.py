"""What the state ring and the burner need of flash: a size, reads, writes, and a barrier.

Owns the protocol only. `host.block.BlockFile` is the real one; `tests/sim/flashsim.py` one that fails on demand.
"""

from __future__ import annotations

from typing import Protocol


class FlashDevice(Protocol):
    """A range of bytes that keeps what was written before the last `flush`, whatever happens to the power."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset` (bytes)."""

    def write(self, offset: int, data: bytes) -> None:
        """Writes all of `data` at `offset` (bytes). Until `flush`, any part of it may reach flash, in any order."""

    def flush(self) -> None:
        """Returns when everything written so far would survive a cut of power."""
