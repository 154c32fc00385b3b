"""The build cache: what a step made, kept by the hash of all that went in.

Owns where results lie, that each is whole, and that two builds at once make a thing once. Lives outside the
checkout ($FLASHVISOR_CACHE or ~/.cache/flashvisor), so that a clean checkout is fast::

    cache = Cache(default_root())
    tree = cache.get(Step("kernel", inputs={"config": text}, build=compile_kernel))
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.host import clock
from flashvisor.host.files import need_space, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KEY_LENGTH = 16  # hex digits of a step's hash in names
DONE = ".done.json"


@dataclass(frozen=True)
class Step:
    """A thing to build.

    Args:
        name: Of the step, in messages and directory names.
        inputs: All that determines the result: texts, versions, keys of earlier steps.
        build: Fills an empty directory; may be killed at any point.
        title: What a person sees while it runs.
        expected: Seconds that it takes on 2 cores when nothing better is known, for the remaining time.
        space: Bytes of disk it needs while it runs.
    """

    name: str
    inputs: Mapping[str, str]
    build: Callable[[Path], None] = field(repr=False)
    title: str = ""
    expected: float = 10.0
    space: int = 0

    @property
    def key(self) -> str:
        """Hash of the name and all inputs, in hex."""
        text = json.dumps([self.name, sorted(self.inputs.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


class Listener:
    """Hears of steps that really run. This one keeps quiet; the CLI's shows a bar with the remaining time."""

    @contextmanager
    def step(self, title: str, expected: float, log: Path) -> Iterator[None]:
        """Surrounds a step; `expected` seconds come from its last run on this machine where there was one."""
        del title, expected, log
        yield


class Cache:
    """Results of steps under one directory."""

    def __init__(self, root: Path, listener: Listener | None = None) -> None:
        self.root = root
        self.listener = listener or Listener()

    def get(self, step: Step) -> Path:
        """Returns the directory with the step's result, building it if it is not there.

        Raises:
            NoSpaceError: not enough space is free; nothing was written.
            FlashvisorError: whatever the step raises; nothing is kept of it but its log.
        """
        place = self.root / step.name / step.key
        if (place / DONE).exists():
            return place
        (self.root / step.name).mkdir(parents=True, exist_ok=True)
        with _locked(self.root / step.name / f".{step.key}.lock"):
            if not (place / DONE).exists():
                self._build(step, place)
        return place

    def has(self, step: Step) -> bool:
        """Whether the step's result is there."""
        return (self.root / step.name / step.key / DONE).exists()

    def log(self, step: Step) -> Path:
        """Where the step's output goes."""
        return self.root / "logs" / f"{step.name}-{step.key}.log"

    def _build(self, step: Step, place: Path) -> None:
        need_space(self.root, step.space, f"the step '{step.name}'")
        log = self.log(step)
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        half = place.with_name(f"{place.name}.half")
        for leftover in (half, place):
            if leftover.exists():
                shutil.rmtree(leftover)
        half.mkdir()
        times = self.root / "times.json"
        known: dict[str, float] = json.loads(times.read_text()) if times.exists() else {}
        started = clock.monotonic()
        try:
            with self.listener.step(step.title or step.name, known.get(step.name, step.expected), log):
                step.build(half)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
        known[step.name] = round(clock.monotonic() - started, 1)
        write_atomic(half / DONE, json.dumps(dict(step.inputs), indent=1).encode())
        half.rename(place)
        write_atomic(times, json.dumps(known).encode())


def default_root() -> Path:
    """$FLASHVISOR_CACHE, else ~/.cache/flashvisor."""
    named = os.environ.get("FLASHVISOR_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "flashvisor"


def digest(text: str | bytes) -> str:
    """SHA-256 in hex, for inputs too long to keep whole."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
