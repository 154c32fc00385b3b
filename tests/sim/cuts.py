"""Cuts of power, at every event of everything that a server does to its slots, and what must be true after each.

for scenario in scenarios():
    tally = cut_everywhere(scenario, seeds=range(4))
    tally.points
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flashvisor.flash.slots import target
from flashvisor.flash.update import BLOCK
from flashvisor.model.record import Config, RecordKind, encode
from flashvisor.model.slot import Slot
from sim.flashsim import PowerCut
from sim.slotsim import BAD, NEW, OLD, STARTS, STATE, THIRD, VERIFIED, SlotSim, Snapshot, burnt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SECOND_CUT = 3  # every so many cuts are followed by another one while the server recovers


@dataclass(frozen=True)
class Scenario:
    """What a server does when power goes, and what may run afterwards."""

    name: str
    start: Snapshot
    act: Callable[[SlotSim], object]
    may_run: frozenset[str]
    early: bool = False
    secure: bool = False


@dataclass
class Tally:
    """What came of the cuts of a scenario: distinct points (event, and what was left in flash), and what ran."""

    points: set[tuple[int, bytes]] = field(default_factory=set)
    ran: Counter[str] = field(default_factory=Counter)


def _after(start: Snapshot, *acts: Callable[[SlotSim], object], secure: bool) -> Snapshot:
    server = SlotSim(start, secure=secure)
    server.settle()
    for act in acts:
        act(server)
    return server.snapshot()


def _update_and_settle(content: bytes) -> Callable[[SlotSim], object]:
    def act(server: SlotSim) -> str:
        server.update(content)
        return server.settle()

    return act


def _appends(server: SlotSim) -> None:
    """Site files as they come and go; often enough to go round the ring."""
    ring = server.ring()
    for number in range(40):
        text = "x" * (30 * number)
        payload = encode(Config(generation=number + 1, when=0.0, who="t", site_toml=text, confirmed=True))
        ring.append(RecordKind.WEAR if number % 3 else RecordKind.CONFIG, payload, cause="test")


def _full(server: SlotSim) -> None:
    """So many kept kinds that room must be made by copying."""
    ring = server.ring()
    for kind in range(100, 116):
        ring.append(kind, b"%d" % kind, cause="test")
    for _ in range(60):
        ring.append(RecordKind.WEAR, b"0", cause="test")


def updated(*, secure: bool = False) -> Snapshot:
    """A server that was updated once: new is committed in b, old stands in a."""
    return _after(burnt(), _update_and_settle(NEW), secure=secure)


def scenarios() -> list[Scenario]:
    """Returns everything that is cut: without Secure Boot, and with it."""
    return [
        *_scenarios(secure=False),
        *(
            replace(one, name=f"{one.name}, Secure Boot")
            for one in _scenarios(secure=True)
            if not one.name.startswith("ring")  # firmware has no part in them
        ),
    ]


def _scenarios(*, secure: bool) -> list[Scenario]:
    shipped = burnt()
    first = _after(shipped, secure=secure)
    new = updated(secure=secure)
    tried = _after(shipped, lambda server: server.update(NEW), secure=secure)
    tried_bad = _after(new, lambda server: server.update(BAD), secure=secure)
    full = _after(new, _full, secure=secure)
    old, both = frozenset({"old"}), frozenset({"old", "new"})

    def settle(server: SlotSim) -> None:
        server.settle()

    def rollback(server: SlotSim) -> None:
        server.rollback()
        server.settle()

    def factory_reset(server: SlotSim) -> None:
        server.factory_reset()
        server.settle()

    def doing(act: Callable[[SlotSim], object]) -> Callable[[SlotSim], None]:
        def whole(server: SlotSim) -> None:
            server.settle()
            act(server)

        return whole

    found = [
        Scenario("first start, empty NVRAM", shipped, settle, old),
        Scenario("update into the empty slot", first, doing(lambda server: server.update(NEW)), both),
        Scenario("trial and commit", tried, settle, both),
        Scenario("update over an older image", new, doing(_update_and_settle(THIRD)), both | {"third"}),
        Scenario("update to an image that dies", new, doing(_update_and_settle(BAD)), both),
        Scenario("the same, dying before user space", new, doing(_update_and_settle(BAD)), both, early=True),
        Scenario("failed trial", tried_bad, settle, both),
        Scenario("rollback", new, doing(rollback), both),
        Scenario("factory reset", new, doing(factory_reset), both),
        Scenario("NVRAM lost", Snapshot(new.medium), settle, both),
        Scenario("ring append", new, doing(_appends), both),
        Scenario("ring compaction", full, doing(_appends), both),
    ]
    return [replace(one, secure=secure) for one in found]


def events(scenario: Scenario) -> int:
    """Returns how many events a scenario has when nothing is cut."""
    server = SlotSim(scenario.start, early=scenario.early, secure=scenario.secure)
    scenario.act(server)
    return server.power.count


def cut_everywhere(scenario: Scenario, seeds: Iterable[int], *, every: int = 1) -> Tally:
    """Cuts a scenario at each of its events, once for each seed.

    Args:
        scenario: What is cut.
        seeds: Of chance: what reaches the medium, and of what only a part.
        every: Take every so many events only.
    """
    tally = Tally()
    for seed in seeds:
        for event in range(seed % every, events(scenario), every):
            chance = 1000 * seed + event
            server = SlotSim(scenario.start, seed=chance, limit=event, early=scenario.early, secure=scenario.secure)
            try:
                scenario.act(server)
            except PowerCut:
                pass
            else:
                raise AssertionError(f"{scenario.name}: nothing was cut at event {event}")
            tally.points.add((event, server.snapshot().key()))
            _check_named(server)
            if (seed + event) % SECOND_CUT == 0:
                server = _cut_again(server, event % 7, seed)
            tally.ran[_check(scenario, server.again())] += 1
    return tally


def _check_named(server: SlotSim) -> None:
    """Whatever dies next: firmware is led to no slot that was not verified."""
    boot = server.firmware.boot_variables()
    for number in (*boot.order, *([] if boot.next is None else [boot.next])):
        slot = server.firmware.slot_of(number)
        assert slot is None or server.slot(slot) in VERIFIED.values(), f"firmware is led to slot {slot}"


def _cut_again(server: SlotSim, event: int, seed: int) -> SlotSim:
    again = server.again(limit=event, seed=seed)
    try:
        again.settle()
    except PowerCut:
        return again
    return again.again()


def _check(scenario: Scenario, server: SlotSim) -> str:
    """The server comes up with a verified image, keeps its factory, and can still be updated."""
    name = server.settle()
    assert name in scenario.may_run, f"{scenario.name}: {name} runs"
    assert server.slot(Slot.FACTORY) == OLD, "factory was written"
    assert server.ring().latest(RecordKind.IDENTITY), "the identity is lost"
    if server.view().committed is not server.running:  # it stands in for the committed one; a restart goes there
        server = server.again()
        name = server.settle()
        assert name in scenario.may_run
        assert server.view().committed is server.running
    wanted = "new" if name == "old" else "old"
    server.update({"new": NEW, "old": OLD}[wanted])
    assert server.settle() == wanted, f"{scenario.name}: the server takes no update any more"
    assert server.again().settle() == wanted
    return name


def update_many(server: SlotSim, count: int) -> tuple[int, int, int]:
    """Updates a server over and over; factory stays as it is, and only what differs is written.

    Returns:
        Bytes that differed, bytes written to slots, bytes written to the state ring.
    """
    before, ring_before, slots_before = len(server.flash.writes), server.ring().bytes_written, server.slot_bytes
    differing = 0
    for number in range(count):
        content = (NEW, THIRD, OLD)[number % 3]
        old = server.slot(target(server.view()))
        differing += sum(old[at : at + BLOCK] != content[at : at + BLOCK] for at in range(0, len(content), BLOCK))
        server.update(content)
        server.settle()
        assert server.slot(server.running) == content
    assert server.slot(Slot.FACTORY) == OLD, "factory was written"
    written = server.flash.writes[before:]
    slots = sum(length for offset, length in written if offset < STATE)
    ring = server.ring().bytes_written - ring_before
    assert all(offset >= STARTS[Slot.A] for offset, _ in written)
    assert slots == server.slot_bytes - slots_before == differing * BLOCK
    assert sum(length for _, length in written) == slots + ring, "a byte was written that nobody booked"
    return differing * BLOCK, slots, ring
