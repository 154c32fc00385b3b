"""A FlashDevice in RAM, for a state ring that is made or received before it is written. Zeros cost nothing.

Example::

    device = RamDevice(STATE.size)
    device.write(0, data)
"""

from __future__ import annotations

PAGE = 4096  # bytes


class RamDevice:
    """Bytes in RAM that begin as zeros; only pages that hold something else are kept. `size` is in bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pages: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`."""
        self._check(offset, length)
        first, last = offset // PAGE, -(-(offset + length) // PAGE)
        data = b"".join(self._pages.get(number, bytes(PAGE)) for number in range(first, last))
        return data[offset - first * PAGE :][:length]

    def write(self, offset: int, data: bytes) -> None:
        """Puts bytes at `offset`."""
        self._check(offset, len(data))
        first = offset // PAGE
        head = self.read(first * PAGE, offset - first * PAGE)
        end = offset + len(data)
        tail = self.read(end, min(-end % PAGE, self.size - end))
        whole = head + data + tail
        for start in range(0, len(whole), PAGE):
            page, number = whole[start : start + PAGE].ljust(PAGE, b"\0"), first + start // PAGE
            if page.count(0) == PAGE:
                self._pages.pop(number, None)
            else:
                self._pages[number] = page

    def flush(self) -> None:
        """RAM keeps everything."""

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} are outside the {self.size} bytes of the device")
