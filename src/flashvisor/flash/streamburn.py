"""Burning a flash image that arrives in order, over the network, with another state ring than it brings.

The order on the device is that of `burn.write_device`: no partition table until all the rest is written::

    burn = StreamBurn(target, size)
    for chunk in chunks:
        burn.take(chunk)
    burn.complete(ring_in_ram)          # in place of burn.state, which the image brought
    for count in burn.compare(): ...
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from flashvisor.errors import BadRequestError, DeviceFaultyError
from flashvisor.flash.burn import GPT_SIGNATURE, table_pieces
from flashvisor.flash.layout import ALIGNMENT, SECTOR, STATE
from flashvisor.flash.ramdevice import RamDevice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.flash.device import FlashDevice


class Target(Protocol):
    """The device to burn: a FlashDevice that can be made to read from the medium."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Returns bytes."""

    def write(self, offset: int, data: bytes) -> None:
        """Writes bytes."""

    def flush(self) -> None:
        """Returns when all would survive a cut of power."""

    def forget_cache(self) -> None:
        """Makes the next read come from the medium."""


class StreamBurn:
    """One burn. Until `complete` has returned, the device is empty to firmware.

    Args:
        target: At least as large as the image; nothing is written before the image's first MiB has come and is one's.
        size: Bytes of the image.

    Attributes:
        state: The state ring that the image brought, in RAM: it is not written.
    """

    def __init__(self, target: Target, size: int) -> None:
        self._target, self._size = target, size
        self._tables = table_pieces(size)
        self._held: dict[int, bytes] = {}
        self._digests: dict[int, tuple[int, bytes]] = {}
        self._whole = hashlib.sha256()
        self._waiting = bytearray()
        self._start = 0
        self.state = RamDevice(STATE.size)

    def take(self, chunk: bytes) -> None:
        """Takes the image's next bytes.

        Raises:
            BadRequestError: it is no flash image, or longer than announced.
            DeviceFaultyError: the device does not take it.
        """
        self._waiting += chunk
        while self._start < self._size and len(self._waiting) >= (length := self._next_length()):
            piece = bytes(self._waiting[:length])
            del self._waiting[:length]
            self._place(self._start, piece)
            self._start += length
        if self._start >= self._size and self._waiting:
            raise BadRequestError(f"expected a flash image of {self._size} bytes, got more")

    def complete(self, state: FlashDevice) -> None:
        """Writes a state ring in place of the image's own, and the partition table last.

        Args:
            state: As large as the ring's partition.

        Raises:
            BadRequestError: the image has not come as a whole.
            DeviceFaultyError: the device does not take it.
        """
        if self._start < self._size:
            raise BadRequestError(f"expected a flash image of {self._size} bytes, got {self._start}")
        for start in range(0, STATE.size, ALIGNMENT):
            self._write(STATE.start + start, state.read(start, min(ALIGNMENT, STATE.size - start)))
        self._target.flush()
        for start, piece in self._held.items():
            self._write(start, piece)
        self._target.flush()

    def compare(self) -> Iterator[int]:
        """Reads all back from the medium and compares; yields the bytes of each piece that is as it was written.

        Raises:
            DeviceFaultyError: the device gives other bytes than it was given.
        """
        self._target.forget_cache()
        for start, (length, digest) in sorted(self._digests.items()):
            data = self._target.read(start, length)
            if hashlib.sha256(data).digest() != digest:
                raise DeviceFaultyError(
                    f"the device gave back other bytes than were written, among the {length} from byte {start} on"
                )
            self._whole.update(data)
            yield length

    @property
    def sha256(self) -> str:
        """The SHA-256 of what `compare` read back."""
        return self._whole.hexdigest()

    def _next_length(self) -> int:
        return self._tables.get(self._start, ALIGNMENT)

    def _place(self, start: int, piece: bytes) -> None:
        if start == 0:
            self._begin(piece)
        if start in self._tables:
            self._held[start] = piece
        elif STATE.start <= start < STATE.end:
            self.state.write(start - STATE.start, piece)
        else:
            self._write(start, piece)

    def _begin(self, first: bytes) -> None:
        if first[SECTOR : SECTOR + len(GPT_SIGNATURE)] != GPT_SIGNATURE:
            raise BadRequestError("what came is not a flash image: it has no partition table. Nothing was written")
        for start, length in self._tables.items():
            self._target.write(start, bytes(length))
        self._target.flush()

    def _write(self, start: int, piece: bytes) -> None:
        self._target.write(start, piece)
        self._digests[start] = (len(piece), hashlib.sha256(piece).digest())
