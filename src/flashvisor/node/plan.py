"""From the site that runs and the site that is wished to a list of actions. Pure.

Owns the order of actions, and the checks that only a server can make. Does not carry anything out (reconcile.py)::

    problems = check_server(wish, facts)        # [] when the server can do it
    for action in plan(current, wish, facts): ...
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from flashvisor.api.types import ImageKind
from flashvisor.errors import (
    ForeignDataError,
    ImageNotUploadedError,
    NoApplianceError,
    NodeError,
    NoSuchCardError,
    NotEnoughMemoryError,
)
from flashvisor.model.names import Lease, assign_addresses, guest_storage
from flashvisor.model.site import OnCrash
from flashvisor.model.size import parse_size, show_size
from flashvisor.model.startorder import stop_order, turn_in_words, waves
from flashvisor.model.wiring import is_card, uplink_mac, uplink_of
from flashvisor.node.cards import resolve_cards
from flashvisor.node.mirror import find_mirror
from flashvisor.node.network import NetworkPlan, moves_uplink, plan_network
from flashvisor.node.storage import DataDisk, find_disk, needs_format, on_disks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from flashvisor.model.record import ImageEntry
    from flashvisor.model.site import Guest, Site, Storage

MIB = 1 << 20  # bytes
# Bytes kept for the server itself: kernel, root in RAM, libvirt, agent (172 MiB, `make bench`), and an update (132 MiB,
# updates.WORK and the image): a server that is full to the brim takes one, too.
SERVER_RESERVE = 320 * MIB
NETWORKS = "networks"  # the subject of Verb.CONFIGURE
GUEST_OVERHEAD = 40 * MIB  # bytes that a guest's QEMU needs beside the guest's own memory


class Verb(StrEnum):
    """What an action does."""

    STOP = "stop"
    UNMOUNT = "unmount"
    CONFIGURE = "configure"
    FORMAT = "format"
    MOUNT = "mount"
    START = "start"


@dataclass(frozen=True)
class Action:
    """One step. `subject` is a guest's or storage's name, or "networks"."""

    verb: Verb
    subject: str
    detail: str = ""


@dataclass(frozen=True)
class Desired:
    """A site with the bytes behind its image names."""

    site: Site
    images: Mapping[str, ImageEntry]


@dataclass(frozen=True)
class ServerFacts:
    """What the server is and does now. `memory` in bytes; `mounted` holds storages' names, `images` SHA-256s.

    `cards` are MAC addresses; none at all means that nobody looked.
    """

    memory: int
    disks: tuple[DataDisk, ...]
    mounted: frozenset[str]
    images: frozenset[str]
    running: frozenset[str]
    first_card: str | None
    api_port: int
    cards: frozenset[str] = frozenset()


def check_server(wish: Desired, facts: ServerFacts) -> list[NodeError]:
    """Returns every reason why this server cannot carry out the site; none if it can."""
    found = [*_storage_errors(wish.site, facts), *_image_errors(wish, facts), *_card_errors(wish.site, facts)]
    guests = wish.site.guest.values()
    need = sum(parse_size(guest.memory) + GUEST_OVERHEAD for guest in guests)
    free = facts.memory - SERVER_RESERVE
    if need > free:
        sums = (
            f"{len(guests)} guests need {show_size(need)} of memory, with {show_size(GUEST_OVERHEAD)} of overhead each"
        )
        have = f"the server has {show_size(max(free, 0))}: {show_size(facts.memory)} less {show_size(SERVER_RESERVE)}"
        found.append(NotEnoughMemoryError(f"{sums}; {have} for itself"))
    return found


def missing_images(wish: Desired, facts: ServerFacts) -> tuple[str, ...]:
    """Returns the SHA-256s that guests of the site need and the server does not hold, sorted."""
    used = {guest.image for guest in wish.site.guest.values()}
    return tuple(sorted({ref.sha256 for name, ref in wish.images.items() if name in used} - facts.images))


def plan(current: Desired | None, wish: Desired | None, facts: ServerFacts) -> list[Action]:
    """Returns the actions that lead from one site to the other, in their order.

    Args:
        current: What is in force; None right after boot.
        wish: What shall be; None for nothing.
        facts: The server. A guest that runs already and is in both sites unchanged is left alone.
    """
    before, after = _guest_keys(current), _guest_keys(wish)
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    changed |= before.keys() & after.keys() & _moved(current, wish)
    # Right after boot, or after a restart of the agent, a running guest of the site is one that was found again.
    stops = facts.running & (changed | (facts.running - after.keys()))
    ordered = chain.from_iterable(stop_order(current.site if current else None, stops))
    return [
        *(Action(Verb.STOP, name, "changed" if name in after else "no longer in the site") for name in ordered),
        *_unmounts(current, wish, facts),
        *_network(current, wish, facts),
        *_mounts(current, wish, facts),
        *_starts(before.keys(), changed, wish, facts),
    ]


def _storage_errors(site: Site, facts: ServerFacts) -> Iterator[NodeError]:
    for name, storage in on_disks(site).items():
        try:
            _to_be_made(name, storage, facts.disks)
        except NodeError as error:
            # Of what is mounted only a mirror can get another disk.
            if name not in facts.mounted or (storage.raid1 and isinstance(error, ForeignDataError)):
                yield error


def _image_errors(wish: Desired, facts: ServerFacts) -> Iterator[NodeError]:
    for name, guest in wish.site.guest.items():
        ref = wish.images.get(guest.image)
        if ref is None:
            yield ImageNotUploadedError(f"guest.{name}: the request does not say which bytes image '{guest.image}' is")
        elif ref.sha256 not in facts.images:
            yield ImageNotUploadedError(f"guest.{name}: image '{guest.image}' ({ref.sha256}) is not on this server")
        if ref is not None and guest.appliance and ref.kind != ImageKind.APPLIANCE:
            what = f"guest.{name}.appliance: expected an appliance, image '{guest.image}' is a {ref.kind} image"
            yield NoApplianceError(what)


def _card_errors(site: Site, facts: ServerFacts) -> Iterator[NodeError]:
    if not facts.cards:
        return
    wishes = {f"network.{name}.uplink": net.uplink for name, net in site.network.items() if net.uplink}
    wishes |= {"node.uplink.mac": site.node.uplink.mac} if site.node.uplink.mac else {}
    for path, mac in wishes.items():
        if is_card(mac) and mac not in facts.cards:
            yield NoSuchCardError(f"{path}: this server has no card {mac}", evidence="\n".join(sorted(facts.cards)))
    for name, bond in site.bond.items():
        # A bond is there to outlive a card; without any it is nothing.
        if not facts.cards & set(bond.cards):
            what = f"bond.{name}.cards: this server has none of the cards {', '.join(bond.cards)}"
            yield NoSuchCardError(what, evidence="\n".join(sorted(facts.cards)))


def _guest_keys(desired: Desired | None) -> dict[str, object]:
    """All of a guest that cannot change while it runs."""
    if desired is None:
        return {}
    leases = assign_addresses(desired.site)
    return {name: _guest_key(desired, name, guest, leases) for name, guest in desired.site.guest.items()}


def _guest_key(desired: Desired, name: str, guest: Guest, leases: tuple[Lease, ...]) -> object:
    # Forwards, firewall, rates and addresses that may be sent from are the server's rules, and so is when and how it
    # is started and asked: the guest runs on.
    nics = tuple(msgspec.structs.replace(nic, rate_in=None, rate_out=None, spoofing=False) for nic in guest.nics)
    plain = msgspec.structs.replace(guest, autostart=True, on_crash=OnCrash.RESTART, restarts=None, probe=None)
    domain = msgspec.structs.replace(plain, forwards=(), firewall=None, nics=nics)
    storage = guest_storage(desired.site, guest)
    return (
        domain,
        guest.on_crash is OnCrash.KEEP,
        guest.probe is not None and guest.probe.agent,
        desired.images.get(guest.image),
        tuple(lease for lease in leases if lease.guest == name),
        resolve_cards(desired.site, name),
        _bridge_macs(desired.site, guest),
        storage,
        desired.site.node.name,
    )


def _bridge_macs(site: Site, guest: Guest) -> tuple[str, ...]:
    """A bridge that gets another address is made anew, and its ports with it."""
    uplinks = (uplink_of(site, site.network[nic.network]) for nic in guest.nics if not site.network[nic.network].subnet)
    return tuple(uplink_mac(site, uplink) for uplink in uplinks if uplink)


def _moved(current: Desired | None, wish: Desired | None) -> set[str]:
    """Guests of both sites whose storage, by the same name, is other disks now."""
    before, after = _storages(current), _storages(wish)
    moved = {name for name in before.keys() & after.keys() if not _same(before[name], after[name])}
    guests = wish.site.guest.items() if wish else ()
    return {name for name, guest in guests if wish and guest_storage(wish.site, guest) in moved}


def _same(one: Storage, other: Storage | None) -> bool:
    """Whether two tables mean the same data: a mirror stays what it is while one of its halves stays."""
    if other is not None and one.raid1 is not None and other.raid1 is not None:
        return bool(set(one.raid1) & set(other.raid1))
    return one == other


def _unmounts(current: Desired | None, wish: Desired | None, facts: ServerFacts) -> Iterator[Action]:
    before, after = _storages(current), _storages(wish)
    for name in sorted(facts.mounted & before.keys()):
        if not _same(before[name], after.get(name)):
            yield Action(Verb.UNMOUNT, name, "its data stay as they are")


def _mounts(current: Desired | None, wish: Desired | None, facts: ServerFacts) -> Iterator[Action]:
    before = _storages(current)
    for name, storage in _storages(wish).items():
        if name in facts.mounted and before.get(name, storage) == storage:
            continue
        if storage.nfs is not None:
            yield Action(Verb.MOUNT, name, f"{storage.nfs} by NFS")
            continue
        try:
            what, where = _to_be_made(name, storage, facts.disks)
        except NodeError:
            continue  # `check_server` has the words for it
        if what:
            yield Action(Verb.FORMAT, name, what)
        yield Action(Verb.MOUNT, name, where)


def _to_be_made(name: str, storage: Storage, disks: tuple[DataDisk, ...]) -> tuple[str, str]:
    """What becomes of a storage's blank disks, in words ("" if nothing does), and which devices it is on."""
    if storage.raid1 is None:
        disk = find_disk(name, storage, disks)
        blank = f"{disk.device} is blank ({show_size(disk.size)}) and becomes ext4"
        return blank if needs_format(name, disk) else "", disk.device
    found = find_mirror(name, storage.raid1, disks)
    blanks = " and ".join(f"{disk.device} ({show_size(disk.size)})" for disk in found.blanks)
    where = " and ".join(disk.device for disk in (*found.members, *found.blanks))
    if found.is_new:
        return f"{blanks} are blank and become a mirror with ext4", where
    return f"{blanks} is blank and becomes a half of the mirror" if blanks else "", where


def _storages(desired: Desired | None) -> dict[str, Storage]:
    return desired.site.storage if desired else {}


def _network(current: Desired | None, wish: Desired | None, facts: ServerFacts) -> Iterator[Action]:
    def planned(desired: Desired | None) -> NetworkPlan:
        site = desired.site if desired else None
        return plan_network(site, api_port=facts.api_port, first_card=facts.first_card)

    before, after = planned(current), planned(wish)
    if current is None or before != after:
        detail = ", ".join(sorted(wish.site.network)) if wish else ""
        detail = detail or "uplink and firewall only"
        if moves_uplink(before, after):
            detail += "; the way to the server itself changes"
        yield Action(Verb.CONFIGURE, NETWORKS, detail)


def _starts(
    known: AbstractSet[str], changed: AbstractSet[str], wish: Desired | None, facts: ServerFacts
) -> Iterator[Action]:
    guests = wish.site.guest if wish else {}
    for name in chain.from_iterable(waves(wish.site)) if wish else ():
        guest = guests[name]
        if name in changed and name in facts.running:
            yield Action(Verb.START, name, "with its changes")
        elif name not in known and name not in facts.running and guest.autostart:
            yield Action(Verb.START, name, turn_in_words(guest))
