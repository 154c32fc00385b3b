"""Carries a plan's actions out, one by one: the impure half of plan.py.

Owns which call each action is. Does not own what a call does (machine.py, keeper.py).

Example::

    carry_out(actions, desired, hands, strict=True)
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import FlashvisorError
from flashvisor.model.nfsexport import parse_export
from flashvisor.node.mirror import find_mirror
from flashvisor.node.network import plan_network
from flashvisor.node.plan import Action, Desired, ServerFacts, Verb
from flashvisor.node.storage import find_disk, kind_of, needs_format, storage_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flashvisor.model.site import Storage
    from flashvisor.node.keeper import Keeper
    from flashvisor.node.machine import Machine
    from flashvisor.node.problems import Problems
    from flashvisor.node.settings import Settings
    from flashvisor.node.storage import DataDisk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hands:
    """All that actions are carried out with."""

    machine: Machine
    keeper: Keeper
    problems: Problems
    settings: Settings


def carry_out(actions: Iterable[Action], wish: Desired | None, hands: Hands, *, strict: bool) -> None:
    """Carries actions out in their order.

    Args:
        actions: From `plan`.
        wish: The site that they lead to.
        hands: What does it.
        strict: The first failure ends it. Else (at boot, on the way back) it becomes a problem, and the rest goes on.

    Raises:
        FlashvisorError: an action failed, if strict.
    """
    for action in actions:
        about = f"{action.verb} {action.subject}"
        log.info("%s (%s)", about, action.detail)
        try:
            _CALLS[action.verb](action, wish, hands)
        except FlashvisorError as error:
            if strict:
                raise
            hands.problems.tell(about, error)
        else:
            hands.problems.clear(about)
    # The site may say something else of those who wait to be started.
    hands.keeper.look_at_queue()


def server_facts(hands: Hands, images: frozenset[str], names: Iterable[str]) -> ServerFacts:
    """Returns the server as it is now.

    Args:
        hands: What to ask.
        images: SHA-256s in the image store.
        names: Storages that may be mounted.
    """
    machine, settings = hands.machine, hands.settings
    return ServerFacts(
        memory=machine.memory().total,
        disks=machine.disks(),
        mounted=frozenset(name for name in names if machine.is_mounted(settings.storage(name))),
        images=images,
        running=hands.keeper.running(),
        first_card=_first_card(machine),
        api_port=settings.port,
        cards=frozenset(card.mac for card in machine.cards()),
    )


def mount_storage(name: str, wish: Desired, hands: Hands) -> None:
    """Mounts a storage, formatting its disk if that is blank. The disk is looked at again right before.

    Raises:
        NfsError: its server does not answer, or refuses.
        NoDataDiskError: the server has no such disk.
        ForeignDataError: it holds something else; it was not touched.
        DamagedDiskError: its file system cannot be repaired; it is not mounted.
        CommandFailedError: mke2fs or mount failed.
    """
    storage, place = wish.site.storage[name], hands.settings.storage(name)
    if storage.nfs is not None:
        hands.machine.mount_export(parse_export(storage.nfs), place)
        return
    disk = open_disk(name, storage, hands)
    if needs_format(name, disk):
        hands.machine.format(Path(disk.device), storage_label(name))
    hands.machine.mount(Path(disk.device), place, kind_of(disk))


def open_disk(name: str, storage: Storage, hands: Hands, *, insist: bool = True) -> DataDisk:
    """Returns a storage's disk; a mirror runs from then on, on what there is of it.

    Args:
        name: The storage.
        storage: Its table.
        hands: What does it.
        insist: Run a mirror also on one half that may be the older one, as it may be at boot.

    Raises:
        NoDataDiskError: the server has no such disk.
        ForeignDataError: a half of a mirror holds something else; it was not touched.
        CommandFailedError: mdadm failed.
    """
    disks = hands.machine.disks()
    if storage.raid1 is not None:
        return hands.machine.mirror(find_mirror(name, storage.raid1, disks), insist=insist)
    return find_disk(name, storage, disks)


def _first_card(machine: Machine) -> str | None:
    """The first card with a link; one without is no uplink, unless there is no other."""
    cards = machine.cards()
    return next((card.mac for card in cards if card.up), next((card.mac for card in cards), None))


def _stop(action: Action, _wish: Desired | None, hands: Hands) -> None:
    hands.keeper.stop(action.subject)


def _unmount(action: Action, _wish: Desired | None, hands: Hands) -> None:
    hands.machine.unmount(hands.settings.storage(action.subject))


def _configure(_action: Action, wish: Desired | None, hands: Hands) -> None:
    site, card = wish.site if wish else None, _first_card(hands.machine)
    hands.machine.configure(plan_network(site, api_port=hands.settings.port, first_card=card))


def _mount(action: Action, wish: Desired | None, hands: Hands) -> None:
    mount_storage(action.subject, _need(wish), hands)


def _start(action: Action, wish: Desired | None, hands: Hands) -> None:
    hands.keeper.start(action.subject, _need(wish))


def _need(wish: Desired | None) -> Desired:
    if wish is None:
        raise RuntimeError("nothing can be mounted or started for no site")
    return wish


_CALLS: dict[Verb, Callable[[Action, Desired | None, Hands], None]] = {
    Verb.STOP: _stop,
    Verb.UNMOUNT: _unmount,
    Verb.CONFIGURE: _configure,
    # Formatting and mounting are two lines of a plan for people, and one step: whoever formats also mounts.
    Verb.FORMAT: _mount,
    Verb.MOUNT: _mount,
    Verb.START: _start,
}
