"""Problems of a site file: all that one pass finds, raised as one error.

Owns how many problems become one message. Does not own what is a problem (sitefile.py, sitecheck/)::

    found = Problems("site.toml")
    found.add(UnknownKeyError, "guest.web.memroy is not a key", step="Did you mean 'memory'?")
    found.raise_any()
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flashvisor.errors import SiteError


@dataclass(frozen=True)
class Problem:
    """One problem: the error class it belongs to, one sentence, and the next step where it is known exactly."""

    kind: type[SiteError]
    what: str
    step: str = ""


@dataclass
class Problems:
    """A growing list of problems of one file; `source` is the file's name as messages show it."""

    source: str
    items: list[Problem] = field(default_factory=list)

    def add(self, kind: type[SiteError], what: str, *, step: str = "") -> None:
        """Notes a problem; `what` starts with the dotted path of the key."""
        self.items.append(Problem(kind, what, step))

    def raise_any(self) -> None:
        """Raises the first problem's error, with all others as its evidence; does nothing if there are none.

        Raises:
            SiteError: the leaf class of the first problem.
        """
        if not self.items:
            return
        first, *others = self.items
        more = f" (and {len(others)} more)" if others else ""
        raise first.kind(
            f"{self.source}: {first.what}{more}",
            next_step=first.step,
            evidence="\n".join(_line(problem) for problem in others),
        )


def _line(problem: Problem) -> str:
    return f"{problem.kind.code}: {problem.what}" + (f". {problem.step}" if problem.step else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns "Did you mean 'x'?" for the nearest known word, or "" when none is near."""
    near = get_close_matches(word, list(known), n=1)
    return f"Did you mean '{near[0]}'?" if near else ""
