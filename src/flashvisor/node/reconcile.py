"""Brings the server to a site: at boot, by apply, and back again when nobody confirms.

Owns the order apply, confirm, revert, and which site is in force. What an apply wrote to flash counts only once it is
confirmed, so a cut of power is a revert as well.

Example::

    reconciler = Reconciler(state, hands, Clocks())
    reconciler.boot_network(); reconciler.boot_storage(limit=10); reconciler.boot_guests()
    reconciler.apply(request)
    reconciler.confirm()
    reconciler.tick()           # takes back what was not confirmed in time; `due` says when to call it
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from flashvisor.api.types import ApplyReport, PlannedAction, PlanReport, SiteReport
from flashvisor.errors import (
    BusyError,
    FlashvisorError,
    ImageNotUploadedError,
    NoDataDiskError,
    NothingToConfirmError,
)
from flashvisor.host import clock
from flashvisor.model.names import guest_storage
from flashvisor.model.record import Config, ImageEntry
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.node.carryout import carry_out, mount_storage, server_facts
from flashvisor.node.guestfiles import Places
from flashvisor.node.images import ImageStore, Library
from flashvisor.node.inforce import desired_of, read_in_force, write_in_force
from flashvisor.node.plan import NETWORKS, Action, Desired, ServerFacts, Verb, check_server, missing_images, plan
from flashvisor.node.storage import single_disks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flashvisor.api.types import ApplyRequest
    from flashvisor.node.carryout import Hands
    from flashvisor.node.state import NodeState

log = logging.getLogger(__name__)

SHORTEST_CONFIRM = 1.0  # seconds
IN_FORCE = "in-force.json"
IMAGES, GUESTS = "images", "guests"  # directories on a storage


class Phase(Enum):
    """Where the newest apply stands."""

    NONE = auto()  # nothing was applied since the agent started
    WAITING = auto()  # applied, not confirmed
    KEPT = auto()  # confirmed
    REVERTED = auto()  # taken back


# Which phase may follow which; anything else is a bug.
NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.NONE: frozenset({Phase.WAITING, Phase.KEPT}),
    Phase.WAITING: frozenset({Phase.WAITING, Phase.KEPT, Phase.REVERTED}),
    Phase.KEPT: frozenset({Phase.WAITING, Phase.KEPT}),
    Phase.REVERTED: frozenset({Phase.WAITING, Phase.KEPT}),
}


_NOTHING = {
    Phase.NONE: "no site was applied since the server's agent started",
    Phase.REVERTED: "the site applied last was taken back already",
}


@dataclass(frozen=True)
class InForce:
    """The generation in force, and its site."""

    config: Config
    desired: Desired


@dataclass(frozen=True)
class Clocks:
    """Where the time comes from: seconds since 1970 UTC, and seconds that only grow."""

    wall: Callable[[], float] = clock.wall
    monotonic: Callable[[], float] = clock.monotonic


class Reconciler:
    """The one place that changes what the server runs. One change at a time; a second one is refused, not queued.

    Args:
        state: The server's memory.
        hands: What carries actions out.
        clocks: What the time is.
        wake: Called when `due` has changed.
    """

    def __init__(self, state: NodeState, hands: Hands, clocks: Clocks, wake: Callable[[], None] = lambda: None) -> None:
        self._state, self._hands = state, hands
        self._wall, self._monotonic = clocks.wall, clocks.monotonic
        self._note = hands.settings.run / IN_FORCE
        self._lock = threading.Lock()
        self._phase = Phase.NONE
        self._now: InForce | None = None
        self._before: InForce | None = None
        self._deadline: float | None = None
        self._planned: Desired | None = None
        self._left: InForce | None = None
        self._ran: frozenset[str] = frozenset()
        self._doing = ""
        self._wake = wake

    @property
    def now(self) -> InForce | None:
        """What is in force; None when the server has no site."""
        return self._now

    @property
    def waiting(self) -> bool:
        """Whether an applied site waits for confirmation."""
        return self._phase is Phase.WAITING

    @property
    def changing(self) -> bool:
        """Whether a change is under way."""
        return self._lock.locked()

    @property
    def due(self) -> float | None:
        """When `tick` has something to do, on the monotonic clock; None if never."""
        return self._deadline

    def boot_network(self) -> None:
        """Puts the networks and the firewall of the newest confirmed site in force. Needs no hypervisor."""
        with self._change("the start of the networks", wait=True):
            self._left = self._parsed(read_in_force(self._note), "what was in force")
            self._enter(self._parsed(self._state.confirmed(), "the site"))
            carry_out([Action(Verb.CONFIGURE, NETWORKS)], self._wish(), self._hands, strict=False)

    def boot_storage(self, limit: float) -> bool:
        """Mounts the site's storages; waits at most `limit` seconds for their disks. Needs no hypervisor.

        Returns:
            Whether all are mounted; what is not has become a problem.
        """
        wish = self._wish()
        if wish is None or not wish.site.storage:
            return True
        with self._change("the start of the storage", wait=True):
            self._hands.machine.wait_for_disks(single_disks(wish.site.storage.values()), limit)
            if any(storage.nfs for storage in wish.site.storage.values()):
                self._hands.machine.wait_for_uplink(limit)
            actions = [Action(Verb.MOUNT, name) for name in wish.site.storage]
            carry_out(actions, wish, self._hands, strict=False)
            self._library(wish).sweep()
        places = [self._hands.settings.storage(name) for name in wish.site.storage]
        return all(self._hands.machine.is_mounted(place) for place in places)

    def boot_guests(self) -> None:
        """Starts the guests that start by themselves. Guests that run already were found again, and are left alone.

        An unconfirmed site that a crash of the agent left in force is taken back here.
        """
        with self._change("the start of the guests", wait=True):
            wish, left = self._wish(), self._left.desired if self._left else None
            facts = self._facts(wish, left)
            for error in check_server(wish, facts) if wish else ():
                self._hands.problems.tell(f"site: {error.what}", error)
            actions = [action for action in plan(left, wish, facts) if action.verb is not Verb.CONFIGURE]
            planned = {action.subject for action in actions if action.verb is Verb.START}
            # After a restart of the agent: what ended unseen starts again.
            actions += [
                action
                for action in plan(None, wish, facts)
                if action.verb is Verb.START and action.subject not in planned
            ]
            carry_out(actions, wish, self._hands, strict=False)

    def plan(self, request: ApplyRequest) -> PlanReport:
        """Returns what `apply` would do. Changes nothing, but remembers whose disk an upload may go to.

        Raises:
            SiteError: the site is wrong.
            NodeError: this server cannot carry it out, missing images aside.
        """
        wish = _desired(request)
        facts = self._facts(wish)
        for error in check_server(wish, facts):
            if not isinstance(error, ImageNotUploadedError):
                raise error
        self._planned = wish
        actions = plan(self._wish(), wish, facts)
        return PlanReport(actions=_for_wire(actions), missing_images=missing_images(wish, facts))

    def open_store(self) -> ImageStore:
        """Returns the store for an upload. Before the first apply, this takes the disk that the last plan named.

        Raises:
            BusyError: another change is under way.
            NoDataDiskError, ForeignDataError: the disk cannot be taken.
        """
        desired = self._planned or self._wish()
        name = next(iter(desired.site.storage), None) if desired else None
        if desired and name and not self._hands.machine.is_mounted(self._hands.settings.storage(name)):
            with self._change("an upload"):
                mount_storage(name, desired, self._hands)
        return self._library(desired).first

    def library(self) -> Library:
        """Returns the images of the site in force, or of the one planned last."""
        return self._library(self._wish() or self._planned)

    def apply(self, request: ApplyRequest) -> ApplyReport:
        """Brings the server to a site. If a step fails, it goes back at once.

        Raises:
            SiteError: the site is wrong. Nothing was changed.
            NodeError: this server cannot carry it out. Nothing was changed.
            BusyError: another change is under way.
            FlashvisorError: a step failed; the server runs its last site again.
        """
        wish = _desired(request)
        with self._change("an apply"):
            facts = self._facts(wish)
            for error in check_server(wish, facts):
                raise error
            images = _entries(request)
            actions = plan(self._wish(), wish, facts)
            self._ran = facts.running
            if self._is_in_force(request.site_toml, images):
                # The same again: carried out for what may have been lost, but flash has it already.
                carry_out(actions, wish, self._hands, strict=True)
                self._become(Phase.KEPT)
                return ApplyReport(generation=self.site().generation, actions=_for_wire(actions), confirm_within=0.0)
            config = self._state.propose(request.site_toml, images, who=request.who, when=self._wall())
            self._try(actions, InForce(config, wish))
            self._planned = None
            limit = max(request.confirm_within, SHORTEST_CONFIRM)
            self._deadline = self._monotonic() + limit
        self._wake()
        return ApplyReport(generation=config.generation, actions=_for_wire(actions), confirm_within=limit)

    def confirm(self) -> SiteReport:
        """Keeps the site applied last. Confirming twice is fine: the first answer may have been lost on its way.

        Raises:
            NothingToConfirmError: nothing was applied, or it was taken back already.
            BusyError: another change is under way.
        """
        with self._change("a confirmation"):
            if self._phase is Phase.WAITING and self._now:
                self._state.confirm(self._now.config.generation)
                self._become(Phase.KEPT)
                self._before, self._deadline = None, None
            elif self._phase is not Phase.KEPT:
                raise NothingToConfirmError(_NOTHING[self._phase])
            return self.site()

    def site(self) -> SiteReport:
        """Returns the site in force; generation 0 when the server has none."""
        now = self._now
        if now is None:
            return SiteReport(generation=0, site_toml="", confirmed=True)
        return SiteReport(generation=now.config.generation, site_toml=now.config.site_toml, confirmed=not self.waiting)

    @contextmanager
    def standing_still(self, why: str) -> Iterator[Desired | None]:
        """Keeps everybody from changing what the server runs; yields the site in force.

        Raises:
            BusyError: a change is under way.
        """
        with self._change(why):
            yield self._wish()

    def tick(self) -> None:
        """Takes the unconfirmed site back if its time is up. Waits for a change that is under way."""
        with self._lock:
            if self._phase is Phase.WAITING and self._deadline is not None and self._monotonic() >= self._deadline:
                log.warning("nobody confirmed the applied site: going back to the last one")
                self._back()

    def _try(self, actions: list[Action], new: InForce) -> None:
        """Enters a new site, and goes back at once if a step fails."""
        # A second apply before confirmation: the way back still leads to the last confirmed site.
        before = self._before if self._phase is Phase.WAITING else self._now
        self._enter(new)
        self._before = before
        self._become(Phase.WAITING)
        try:
            carry_out(actions, new.desired, self._hands, strict=True)
        except BaseException:
            self._back()
            raise

    def _back(self) -> None:
        failed, old = self._wish(), self._before
        self._before, self._deadline = None, None
        self._become(Phase.REVERTED)
        self._enter(old)
        wish = self._wish()
        facts = self._facts(wish, failed)
        actions = plan(failed, wish, facts)
        planned = {action.subject for action in actions if action.verb is Verb.START}
        # What ran before the apply runs again, also if the apply ended between its stop and its start.
        again = (self._ran & (wish.site.guest.keys() if wish else frozenset())) - facts.running - planned
        actions += [Action(Verb.START, name, "it ran before") for name in sorted(again)]
        carry_out(actions, wish, self._hands, strict=False)

    def _is_in_force(self, site_toml: str, images: dict[str, ImageEntry]) -> bool:
        config = self._now.config if self._now else None
        return config is not None and not self.waiting and (config.site_toml, config.images) == (site_toml, images)

    def _wish(self) -> Desired | None:
        return self._now.desired if self._now else None

    def _parsed(self, config: Config | None, what: str) -> InForce | None:
        if config is None:
            return None
        try:
            return InForce(config, desired_of(config))
        except FlashvisorError as error:
            self._hands.problems.tell(what, error)
            return None

    def _enter(self, new: InForce | None) -> None:
        self._now = new
        write_in_force(self._note, new.config if new else None)
        desired = new.desired if new else None
        self._hands.keeper.use(desired, lambda name: self._places(desired, name))

    def _become(self, phase: Phase) -> None:
        if phase not in NEXT[self._phase]:
            raise RuntimeError(f"an apply cannot become {phase.name} after {self._phase.name}")
        self._phase = phase

    def _library(self, desired: Desired | None) -> Library:
        settings = self._hands.settings
        names = desired.site.storage if desired else {}
        places = [settings.storage(name) for name in names if self._hands.machine.is_mounted(settings.storage(name))]
        return Library([ImageStore(place / IMAGES) for place in (*places, settings.volatile)])

    def _places(self, desired: Desired | None, guest: str) -> Places:
        """Where a guest's files are. Looked up at each start, for storages are mounted after a site is entered."""
        settings = self._hands.settings
        wish = desired.site.guest.get(guest) if desired else None
        storage = guest_storage(desired.site, wish) if desired and wish else None
        place = settings.volatile if storage is None else settings.storage(storage)
        if storage is not None and not self._hands.machine.is_mounted(place):
            raise NoDataDiskError(f"guest.{guest}: its storage '{storage}' is not there")
        return Places(images=self._library(desired), guests=place / GUESTS, consoles=settings.consoles)

    def _facts(self, *sites: Desired | None) -> ServerFacts:
        names = {name for desired in sites if desired for name in desired.site.storage}
        digests = frozenset().union(*(self._library(desired).digests() for desired in sites))
        return server_facts(self._hands, digests, names)

    @contextmanager
    def _change(self, what: str, *, wait: bool = False) -> Iterator[None]:
        # The server's own start waits for its turn; people are told at once that it is not theirs.
        if not self._lock.acquire(blocking=wait):
            raise BusyError(f"the server is busy with {self._doing}")
        try:
            self._doing = what
            yield
        finally:
            self._lock.release()


def _desired(request: ApplyRequest) -> Desired:
    site = parse_site(request.site_toml)
    check_site(site)
    return Desired(site=site, images=_entries(request))


def _entries(request: ApplyRequest) -> dict[str, ImageEntry]:
    return {
        name: ImageEntry(sha256=ref.sha256, size=ref.size, kind=ref.kind.value) for name, ref in request.images.items()
    }


def _for_wire(actions: list[Action]) -> tuple[PlannedAction, ...]:
    return tuple(
        PlannedAction(verb=action.verb.value, subject=action.subject, detail=action.detail) for action in actions
    )
