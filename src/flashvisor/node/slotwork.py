"""What stands around a server's slots: what they can be asked for, what a trial asks of guests, what they work with.

Owns the contract of `SlotKeeper` (slotkeeper.py) and `FakeSlots` (fakeslots.py)::

    def use(slots: Slots) -> None:
        slots.report().committed
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashvisor.host import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flashvisor.api.flashtypes import SlotsReport
    from flashvisor.model.release import Manifest
    from flashvisor.node.problems import Problems


class Guests(Protocol):
    """What a trial asks of the guests."""

    def running(self) -> frozenset[str]:
        """Returns the guests that run."""

    def silent(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns in plain words which of these guests do not run or do not answer."""


class Slots(Protocol):
    """The slots of a server: `SlotKeeper`, or `fakeslots.FakeSlots` of equal rank."""

    def settle(self) -> bool:
        """Settles what happened before this start; returns whether the server restarts."""

    def runs(self) -> str:
        """Returns the slot that this start came from, "" where nobody knows. Known once settled."""

    def healthy(self) -> None:
        """The API serves."""

    def heard(self) -> None:
        """The owner has reached the server."""

    def forget(self) -> None:
        """The device is another one, or its bytes may be: what was read of it counts no more."""

    def report(self, *, verify: bool = False) -> SlotsReport:
        """Returns where all slots stand; `verify` has them read."""

    def held(self) -> Iterable[bytes]:
        """Yields each image that is in a slot, once, and reads it only when it is asked for."""

    def install(self, image: Path, manifest: Manifest, *, force: bool, probation: float, health_url: str) -> None:
        """Writes an image into the slot not in use, and restarts into it, on trial."""

    def rollback(self, *, probation: float, health_url: str) -> None:
        """Restarts into the other slot, on trial."""

    def factory_reset(self, *, keep_site: bool) -> None:
        """Restarts into factory."""


@dataclass(frozen=True)
class Tools:
    """What the keeper works with.

    Args:
        run: A directory in RAM.
        problems: What is wrong.
        say: Tells the consoles.
        restart: Restarts the server once its guests are down; returns at once.
        book: Hears what was written to a slot: cause, and offset and length of each write in bytes.
        writing: Surrounds the writing of a slot.
        wall: Seconds since 1970 UTC.
        boot_seconds: Seconds since the kernel started.
    """

    run: Path
    problems: Problems
    say: Callable[[str], None]
    restart: Callable[[], None]
    book: Callable[[str, Sequence[tuple[int, int]]], None]
    writing: Callable[[], AbstractContextManager[None]] = nullcontext
    wall: Callable[[], float] = clock.wall
    boot_seconds: Callable[[], float] = clock.boot_seconds
