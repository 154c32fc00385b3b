"""What is wrong with the server now, in plain words: on its consoles when it comes up, and in its report.

A problem never stops the API: it is told, and the rest goes on.

Example::

    problems.tell("storage main", error)
    problems.clear("storage main")
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.errors import FlashvisorError


class Problems:
    """Problems by what they are about; a newer one about the same thing takes the older one's place."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}

    def tell(self, about: str, error: FlashvisorError) -> None:
        """Notes a problem and shows it on the consoles; the same words are shown once."""
        text = f"{error.code}: {error.what}"
        with self._lock:
            if self._found.get(about) == text:
                return
            self._found[about] = text
        for line in str(error).splitlines():
            self._say(f"flashvisor: {line}")

    def clear(self, about: str, *, words: str = "") -> None:
        """Takes a problem back; its cause has gone. `words` are shown on the consoles, if it was there."""
        with self._lock:
            found = self._found.pop(about, None)
        if found and words:
            self._say(f"flashvisor: {words}")

    def clear_those(self, beginning: str) -> None:
        """Takes all problems back whose subject begins like that."""
        with self._lock:
            self._found = {about: text for about, text in self._found.items() if not about.startswith(beginning)}

    def about(self, about: str) -> str:
        """Returns the problem with one thing, or ""."""
        return self._found.get(about, "")

    def all(self) -> tuple[str, ...]:
        """Returns all problems, oldest first."""
        with self._lock:
            return tuple(self._found.values())
