"""Where a release's files come from: pushed over the connection of who asks for the update, or fetched from a URL.

Owns the contract and the counting of bytes. Does not own what is wanted (trust/updates.py, node/intake.py)::

    source = UrlSource(Fetcher("https://releases.example/flashvisor", context))
    drive(verify(memory, clocks, wish), source.fetch)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flashvisor.host.https import Fetcher
    from flashvisor.trust.updates import Want


class Source(ABC):
    """A repository, as it is seen through some connection. What it sends is trusted by nobody."""

    def __init__(self) -> None:
        self.received = 0  # bytes

    @abstractmethod
    def _answers(self, wants: Iterable[Want]) -> Iterator[bytes | None]:
        """Yields for each file wanted, in order, at most one byte more than its limit; None if there is no such file.

        May take wants ahead of the answers.
        """

    def answers(self, wants: Iterable[Want]) -> Iterator[bytes | None]:
        """Yields each file wanted, in order, or None if there is no such file.

        Raises:
            ReleaseSourceError: the connection failed.
        """
        for data in self._answers(wants):
            self.received += len(data or b"")
            yield data

    def fetch(self, want: Want) -> bytes | None:
        """Returns one file, or None if there is no such file.

        Raises:
            ReleaseSourceError: the connection failed.
        """
        return next(self.answers((want,)))


class UrlSource(Source):
    """A repository on a web server."""

    def __init__(self, fetcher: Fetcher) -> None:
        super().__init__()
        self._fetcher = fetcher

    def _answers(self, wants: Iterable[Want]) -> Iterator[bytes | None]:
        for want in wants:
            yield self._fetcher.fetch(want.path, want.limit)
