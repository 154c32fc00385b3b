"""The boot timeline: which stage was reached when. Shown on the consoles as it happens, and kept for reports.

Owns the stage lines. A restarted agent reads them back, so that a report still tells of the boot.

Example::

    timeline = Timeline(console.say, boot_seconds, keep=Path("/run/flashvisor/timeline.json"))
    timeline.reach("agent")       # prints: flashvisor: stage=agent t=1.62
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from flashvisor.api.types import Stage
from flashvisor.host.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Timeline:
    """Stages in the order in which they were reached; each is reached once a boot. Any thread may call."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float], keep: Path | None = None) -> None:
        self._say, self._now, self._keep = say, now, keep
        self._lock = threading.Lock()
        self._stages: dict[str, float] = _kept(keep)

    def reach(self, name: str, seconds: float | None = None) -> float:
        """Notes and prints that a stage is reached.

        Args:
            name: "agent", "ready", "guest-web-started" and the like.
            seconds: When, since the kernel started; now if None.

        Returns:
            When it was first reached in this boot.
        """
        with self._lock:
            if name in self._stages:
                return self._stages[name]
            when = self._now() if seconds is None else seconds
            self._stages[name] = when
            self._say(stage_line(name, when))
            if self._keep:
                write_atomic(self._keep, msgspec.json.encode(self._stages))
            return when

    def when(self, name: str) -> float | None:
        """Returns when a stage was reached, in seconds since the kernel started."""
        return self._stages.get(name)

    def stages(self) -> tuple[Stage, ...]:
        """Returns all stages by time."""
        with self._lock:
            return tuple(Stage(name=name, seconds=when) for name, when in sorted(self._stages.items(), key=_by_time))


def stage_line(name: str, seconds: float) -> str:
    """Returns a stage as it stands on the consoles."""
    return f"flashvisor: stage={name} t={seconds:.2f}"


def _by_time(item: tuple[str, float]) -> float:
    return item[1]


def _kept(path: Path | None) -> dict[str, float]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float]) if path else {}
    except (OSError, msgspec.MsgspecError):
        return {}
