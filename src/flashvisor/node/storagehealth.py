"""How well a storage is, from what the kernel counts. Pure: each reading is held against the one before.

Owns the limits, and that a state is left later than it is entered, so that nothing flickers::

    health = judge(None, reading, 0.0)          # Health(StorageState.OK, …)
    health = judge(health, reading, 10.0)       # 10 s later
    words("main", health)                       # "storage main is full: 0 bytes of 64 GiB are free"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.model.size import show_size
from flashvisor.model.storagestate import StorageState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashvisor.host.volume import Reading

MIB = 1 << 20  # bytes
FULL_SHARE, FULL_LIMIT = 0.01, 64 * MIB  # full below the smaller of both
FULL_LEAVES = 2  # times what made it full must be free before guests go on
NEARLY_FULL, NEARLY_FULL_LEAVES = 0.05, 0.06  # of its size
SLOW, SLOW_LEAVES = 1.0, 0.5  # seconds that a request takes, on the average of one interval
STUCK_AFTER = 20.0  # seconds without an answer. Less than the 30 s after which a guest's ATA or NVMe driver gives up


@dataclass(frozen=True)
class Health:
    """A storage's state, and what it follows from.

    Attributes:
        state: In one word.
        reading: The newest one; None where nothing is mounted.
        latency: Seconds that a request took, on the average since the reading before; 0 if none was answered.
        silent: Seconds for which requests have waited and none was answered.
    """

    state: StorageState
    reading: Reading | None = None
    latency: float = 0.0
    silent: float = 0.0


def judge(before: Health | None, reading: Reading | None, seconds: float) -> Health:
    """Returns a storage's health.

    Args:
        before: What this function said last; None at first.
        reading: The storage now; None if nothing is mounted, or it cannot be asked.
        seconds: How long ago `before` was.
    """
    if reading is None:
        return Health(StorageState.GONE)
    last = before.reading if before else None
    answered = reading.answered - last.answered if last else 0
    latency = (reading.waited - last.waited) / answered if last and answered > 0 else 0.0
    waits = last is not None and answered == 0 and reading.in_flight > 0 and last.in_flight > 0
    silent = (before.silent if before else 0.0) + seconds if waits else 0.0
    was = before.state if before else StorageState.OK
    return Health(_state(was, reading, latency, silent), reading, latency, silent)


def full_limit(size: int) -> int:
    """Returns with how many bytes free a storage of this size counts as full."""
    return min(int(size * FULL_SHARE), FULL_LIMIT)


def comfortable(size: int) -> int:
    """Returns how many bytes whoever writes to a storage of this size should leave free, so that no guest waits."""
    return full_limit(size) * FULL_LEAVES


def words(name: str, health: Health) -> str:
    """Returns a storage's state in plain words, with the figure that it follows from."""
    about, reading = f"storage {name} is {health.state}", health.reading
    if reading is None:
        return f"{about}: it is not mounted"
    if not reading.present:
        return f"{about}: {'its server does not answer' if reading.remote else 'its disk is not there any more'}"
    room = f"{about}: {show_size(reading.free)} of {show_size(reading.size)} are free"
    return {
        StorageState.READ_ONLY: f"{about}: its file system met an error, and takes no more writes",
        StorageState.STUCK: f"{about}: {reading.in_flight} requests wait, none was answered for {health.silent:.0f} s",
        StorageState.DEGRADED: f"{about}: {_degraded(reading)}",
        StorageState.SLOW: f"{about}: a read or write takes {health.latency:.1f} s",
    }.get(health.state, room)


def _degraded(reading: Reading) -> str:
    if reading.filled is None:
        return "it lies on one disk only, and the other one failed or is not there"
    return "it lies on one disk, and the other one is being filled again"


def waiting_words(waiting: Sequence[str], in_the_way: Sequence[str] = ()) -> str:
    """Returns who waits for a storage, and which guests keep it from being checked, to be added to `words`."""
    text = f"; {_guests(waiting, 'waits', 'wait')}" if waiting else ""
    if in_the_way:
        text += (
            f"; {_guests(in_the_way, 'still runs', 'still run')} on it: when stopped, it is checked and mounted again"
        )
    return text


def _guests(names: Sequence[str], one: str, many: str) -> str:
    return f"guest {names[0]} {one}" if len(names) == 1 else f"guests {', '.join(names)} {many}"


def _state(was: StorageState, now: Reading, latency: float, silent: float) -> StorageState:
    full = full_limit(now.size) * (FULL_LEAVES if was is StorageState.FULL else 1)
    # What is full is nearly full as well.
    tight = was in (StorageState.FULL, StorageState.NEARLY_FULL)
    holds = (
        (StorageState.GONE, not now.present),
        (StorageState.READ_ONLY, now.read_only),
        (StorageState.STUCK, silent >= STUCK_AFTER),
        (StorageState.FULL, now.free < full),
        (StorageState.DEGRADED, now.missing > 0),
        (StorageState.SLOW, latency >= (SLOW_LEAVES if was is StorageState.SLOW else SLOW)),
        (StorageState.NEARLY_FULL, now.free < now.size * (NEARLY_FULL_LEAVES if tight else NEARLY_FULL)),
    )
    return next((state for state, true in holds if true), StorageState.OK)
