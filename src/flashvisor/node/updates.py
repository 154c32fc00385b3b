"""An update from request to restart: verified, checked, put together, handed to the slots. One at a time.

Owns the order, and that a server's memory of releases is written before anything of them is used. Does not own the
slots themselves (node/slotkeeper.py), nor the connection (node/updatesocket.py)::

    updates = Updates(state, slots, Surroundings(directory, owner_ca_pem, look))
    updates.run(request, push, tell)

What verifies and fetches is imported by the first update: the start of a server counts every module.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashvisor.api.flashtypes import Installed
from flashvisor.errors import BadRequestError, BusyError, NoTrustRootError, OtherFlavourError
from flashvisor.host import clock, facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.api.flashtypes import UpdateRequest
    from flashvisor.model.release import Flavour, Memory
    from flashvisor.node.preflight import Running
    from flashvisor.node.slotwork import Slots
    from flashvisor.node.sources import Source
    from flashvisor.node.state import NodeState
    from flashvisor.trust.updates import VerifiedRelease

# Bytes of RAM beside the image itself: the slot's content, an image that chunks are taken from, and room to breathe.
# Without a look at what is free, the kernel would take it from the largest guest.
WORK = 100 << 20

VERIFYING, LOADING, WRITING = "verifying the release", "getting the image", "writing the slot"


def _available() -> int:
    return facts.memory().available


class Tell(Protocol):
    """Hears what is going on, and how many bytes of how many are done; 0 of 0 where nobody knows.

    `writes` is what will be tried from now on, whoever listens.
    """

    def __call__(self, words: str, done: int = 0, total: int = 0, writes: Installed | None = None) -> None:
        """Must not fail: an update goes on when its listener has gone."""


@dataclass(frozen=True)
class Surroundings:
    """Where an update works.

    Args:
        directory: In RAM: holds the image while it grows.
        owner_ca_pem: Whose web servers are trusted, besides those of the system's CAs.
        look: Says what runs on this server.
        wall: This server's own clock.
        available: Bytes of RAM that are free, or could be.
    """

    directory: Path
    owner_ca_pem: str
    look: Callable[[], Running]
    wall: Callable[[], float] = clock.wall
    available: Callable[[], int] = _available


class Updates:
    """Takes releases in. Any thread may call."""

    def __init__(self, state: NodeState, slots: Slots, surroundings: Surroundings) -> None:
        self._state, self.slots, self._surroundings = state, slots, surroundings
        self._lock = threading.Lock()

    def run(self, request: UpdateRequest, push: Source, tell: Tell) -> Installed:
        """Takes a release in and has it tried.

        Args:
            request: Which one.
            push: Where its files come from if the request names no URL.
            tell: Hears how far it is.

        Returns:
            What was installed; the restart is under way, unless it runs already.

        Raises:
            BusyError: another update is under way.
            NoTrustRootError: no update can be verified.
            TrustError: it is not what the owner signed.
            ReleaseSourceError: the source stopped. What has come is kept.
            NodeError, FlashError: it is not for this server, or flash did not take it.
        """
        with self.alone(), ExitStack() as stack:
            source = self._url_source(request.url, stack) if request.url else push
            return self._run(request, source, tell)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps others from updating meanwhile.

        Raises:
            BusyError: an update is under way.
        """
        if not self._lock.acquire(blocking=False):
            raise BusyError("an update of this server is under way")
        try:
            yield
        finally:
            self._lock.release()

    def _run(self, request: UpdateRequest, source: Source, tell: Tell) -> Installed:
        from flashvisor.node import intake, preflight

        known = self._state.trust()
        if known is None:
            raise NoTrustRootError("this server's flash holds no root of trust, so no release can be verified")
        tell(VERIFYING)
        running, asked = self._surroundings.look(), _flavour(request.flavour)
        release = self._verified(request, known, running, asked or running.flavour, source)
        manifest = release.manifest
        preflight.check(manifest, running, asked=asked)
        if release.memory != known:
            self._state.remember(release.memory)
        report = self.slots.report()
        if preflight.is_running(manifest, report):
            return Installed(version=manifest.version, image=manifest.sha256, already=True)
        preflight.admit(manifest, report, force=request.force)
        preflight.need_memory(manifest.length + WORK, self._surroundings.available())
        taken = intake.assemble(
            manifest,
            self._surroundings.directory,
            held=self.slots.held(),
            source=source,
            tell=lambda done: tell(LOADING, done, manifest.length),
        )
        installed = Installed(
            version=manifest.version, image=manifest.sha256, downloaded=source.received, reused=taken.reused
        )
        tell(WRITING, writes=installed)
        self.slots.install(
            taken.image,
            manifest,
            force=request.force,
            probation=request.probation,
            health_url=request.health_url,
        )
        return installed

    def _verified(
        self, request: UpdateRequest, known: Memory, running: Running, flavour: Flavour | None, source: Source
    ) -> VerifiedRelease:
        from flashvisor.trust.updates import Clocks, Wish, drive, verify

        if flavour is None:
            raise OtherFlavourError("the running image does not say its flavour, and the request names none")
        clocks = Clocks(wall=self._surroundings.wall(), built=running.built, told=request.told)
        return drive(verify(known, clocks, Wish(request.name, flavour, request.version)), source.fetch)

    def _url_source(self, url: str, stack: ExitStack) -> Source:
        from flashvisor.host.https import Fetcher, client_context
        from flashvisor.node.sources import UrlSource

        context = client_context(self._surroundings.owner_ca_pem)
        return UrlSource(stack.enter_context(Fetcher(url, context)))


def _flavour(text: str) -> Flavour | None:
    from flashvisor.model.release import Flavour

    try:
        return Flavour(text) if text else None
    except ValueError as error:
        known = ", ".join(flavour.value for flavour in Flavour)
        raise BadRequestError(f"expected a flavour of {known}, got '{text}'") from error
