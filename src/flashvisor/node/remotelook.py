"""How a storage on the network is, asked without waiting for ever: its server may not answer.

One question is under way at a time. What the kernel counts for a disk is counted here for the questions: how many were
answered, how long that took, and whether one waits; so the same limits hold for both (storagehealth.py).

Example::

    look = RemoteLook(lambda: machine.volume(place))
    look.reading()          # the newest answer; in_flight is 1 while the next one is waited for
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from flashvisor.host.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.host.volume import Reading

PATIENCE = 1.0  # seconds that one look waits for its answer


class RemoteLook:
    """One storage's questions and answers.

    Args:
        ask: Returns how the storage is, None if it is not mounted. May hang.
        patience: Seconds that `reading` waits.
    """

    def __init__(self, ask: Callable[[], Reading | None], patience: float = PATIENCE) -> None:
        self._ask, self._patience = ask, patience
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._asking = False
        self._newest: Reading | None = None
        self._answers, self._waited = 0, 0.0

    def reading(self) -> Reading | None:
        """Returns the newest answer, after a new question if none is under way."""
        with self._lock:
            if not self._asking:
                self._asking = True
                self._answered.clear()
                threading.Thread(target=self._question, name="remote-look", daemon=True).start()
        self._answered.wait(self._patience)
        with self._lock:
            if self._newest is None:
                return None
            return replace(
                self._newest, answered=self._answers, waited=self._waited, in_flight=1 if self._asking else 0
            )

    def _question(self) -> None:
        start, found = monotonic(), None
        try:
            found = self._ask()
        finally:
            with self._lock:
                self._newest, self._asking = found, False
                self._answers += 1
                self._waited += monotonic() - start
            self._answered.set()
