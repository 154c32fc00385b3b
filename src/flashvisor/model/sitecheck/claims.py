"""Things that only one table can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashvisor.errors import SiteError
    from flashvisor.model.problem import Problems


def claim(users: dict[str, str], wish: str, path: str, kind: type[SiteError], thing: str, found: Problems) -> None:
    """Notes who wants a thing, and a problem if another wanted it first."""
    if wish in users:
        found.add(kind, f"{path} and {users[wish]} both want {thing}")
    else:
        users[wish] = path
