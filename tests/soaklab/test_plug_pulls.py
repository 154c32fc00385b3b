"""Plugs pulled at random moments of updates on real firmware, one after another on the same server.

FLASHVISOR_PULLS says how often (50), FLASHVISOR_SEED which moments chance draws (1). With FLASHVISOR_TABLE, the results
go into that page (docs/reliability.md).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from threading import Event
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import FlashBudgetError, NodeUnreachableError
from flashvisor.flash.layout import STATE
from flashvisor.flash.ring import Ring
from flashvisor.host import clock
from flashvisor.host.block import BlockFile
from flashvisor.host.files import sha256_file
from flashvisor.image.publication import Order, publish
from flashvisor.lab.trial import READY_LIMIT, connect
from flashvisor.lab.writelog import waiting
from flashvisor.model.record import RecordKind
from flashvisor.node.updates import WRITING
from lab.plugpull import cut_flash, pull_plug
from lab.updating import factory, push, watch
from sim.report import PULLS, put_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.api.flashtypes import SlotsReport, UpdateStep
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring
    from lab.variants import Variants

pytestmark = pytest.mark.lab

COUNT = int(os.environ.get("FLASHVISOR_PULLS", "50"))
SEED = int(os.environ.get("FLASHVISOR_SEED", "1"))
FIRMWARE, AGENT, COMMITTED = "BdsDxe: starting Boot", "stage=agent", "is committed"
ASK = 1.0  # seconds between two questions of the owner
LOST = "of the server's memory are lost"  # a record that was being written: the one before it is used


@dataclass(frozen=True)
class Phase:
    """A part of an update: what it is, what the console says when it begins ("": nothing), and its seconds.

    `told`: it begins when the server tells the owner that it writes the slot.
    """

    name: str
    after: str
    within: float
    told: bool = False


@dataclass
class Results:
    """What came of the pulls, by phase."""

    ran: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unflushed: Counter[str] = field(default_factory=Counter)

    def rows(self) -> list[str]:
        return [
            f"| {name} | {ran.total()} | {self.unflushed[name]} | {words(ran)} |\n" for name, ran in self.ran.items()
        ]

    def total(self) -> str:
        ran = sum(self.ran.values(), Counter[str]())
        return f"| **all**, seed {SEED} | {ran.total()} | {self.unflushed.total()} | {words(ran)} |\n"


def words(ran: Counter[str]) -> str:
    return ", ".join(f"{image} {count}" for image, count in sorted(ran.items()))


@dataclass
class Life:
    """A server's life, and what must be the same through all of it. `base`: its flash when its plug was last put in."""

    server: Server
    owner: Keyring
    releases: Path
    base: bytes
    version: int = 2

    def __post_init__(self) -> None:
        self.factory, self.site = factory(self.server), self.site_text()

    def site_text(self) -> str:
        with connect(self.server, self.owner) as client:
            return client.site().site_toml

    def publish(self, image: Path) -> None:
        self.version += 1
        publish(image, self.releases, self.owner, open_cache(), Order(version=f"0.{self.version}"))

    def update_until(self, pulled: Event, writing: Event) -> None:
        """What the owner does: pushes the newest release, and asks how it goes until the plug is pulled."""
        with suppress(NodeUnreachableError):
            push(self.server, self.owner, self.releases, force=True, tell=lambda step: on_writing(step, writing.set))
        while not pulled.wait(ASK):
            with suppress(NodeUnreachableError), connect(self.server, self.owner) as client:
                client.slots()

    def pull(self, phase: Phase, chance: Random) -> int:
        """Pulls the plug during an update.

        Returns:
            How many writes to the flash no flush had followed; chance says what became of them.
        """
        since, pulled, writing = self.server.position() if phase.after else 0, Event(), Event()
        with ThreadPoolExecutor(1) as pool:
            owner = pool.submit(self.update_until, pulled, writing)
            try:
                assert not phase.told or writing.wait(READY_LIMIT), "the slot is not written"
                pull_plug(self.server, after=phase.after, within=phase.within, chance=chance, since=since)
            finally:
                pulled.set()
            owner.result()
        entries = self.server.resting_flash.writes()
        self.base = cut_flash(entries, self.base, chance)
        self.server.paths.flash.write_bytes(self.base)
        self.server.paths.write_log.write_bytes(b"")  # from here on it tells of the flash as it is now
        return len(waiting(entries, len(entries)))

    def settle(self, since: int = 0) -> SlotsReport:
        """Waits until the server is ready and nothing is on trial."""
        for _ in clock.ticks(ASK, READY_LIMIT):
            self.server.wait_for("stage=ready", READY_LIMIT, since=since)
            with suppress(NodeUnreachableError), connect(self.server, self.owner) as client:
                if not client.slots().trial:
                    return client.slots(verify=True)
        raise AssertionError("the server comes to no end")

    def check(self) -> tuple[str, ...]:
        """Holds what must be true after every pull.

        Returns:
            The image that runs, and before it the one that stood in for it until a restart, if one did.
        """
        report = self.settle()
        ran = [require_verified(report)]
        if report.running != report.committed:
            since = self.server.position()
            with connect(self.server, self.owner) as client:
                client.power("reboot")
            report = self.settle(since)
            ran.append(require_verified(report))
        assert report.running == report.committed
        assert self.site_text() == self.site
        assert factory(self.server) == self.factory, "factory was written"
        with connect(self.server, self.owner) as client:
            problems = client.node().problems
        # So many updates a day are more than flash is given: that is told, as it should be.
        assert [problem for problem in problems if LOST not in problem and FlashBudgetError.code not in problem] == []
        return tuple(ran)


def identity(flash: Path) -> bytes:
    """What the flash of a server that is off says who it is."""
    with BlockFile(flash, offset=STATE.start, length=STATE.size) as device:
        newest = Ring.open(device).latest(RecordKind.IDENTITY)
    assert newest is not None, "the identity is lost"
    return newest.payload


def require_verified(report: SlotsReport) -> str:
    """What runs, and what is to start first, holds the bytes that were verified; returns the image that runs."""
    rows = {row.slot: row for row in report.slots}
    assert not report.recovery
    for slot in (report.running, report.committed):
        assert slot == "factory" or rows[slot].intact, f"slot {slot} is not intact: {report}"
    return rows[report.running].image if report.running in rows else "factory"


def measured_phases(life: Life, image: Path) -> tuple[Phase, ...]:
    """Updates once without a pull, and returns how long its parts take on this machine."""
    moments: list[float] = []
    since = life.server.position()
    publish(image, life.releases, life.owner, open_cache(), Order(version=f"0.{life.version}"))

    def note() -> None:
        moments.append(clock.monotonic())

    note()
    installed = push(life.server, life.owner, life.releases, tell=lambda step: on_writing(step, note))
    note()
    for line in (FIRMWARE, AGENT):
        life.server.wait_for(line, READY_LIMIT, since=since)
        note()
    watch(life.server, life.owner, installed)
    life.server.wait_for(COMMITTED, READY_LIMIT, since=since)
    note()
    pushed, written, restarted, started, committed = (after - before for before, after in pairwise(moments))
    return (
        Phase("the push", "", pushed),
        Phase("the writing of the slot", "", written + restarted, told=True),
        Phase("the restart, up to the agent", FIRMWARE, started),
        Phase("trial and commit", AGENT, committed + 2 * ASK),
    )


def on_writing(step: UpdateStep, act: Callable[[], None]) -> None:
    """Acts when the server says that it begins to write the slot: it says so once."""
    if step.progress == WRITING:
        act()


def test_a_pulled_plug_leaves_a_server_that_runs_a_verified_image_and_takes_the_next_update(
    power_on: Callable[..., Server], owner: Keyring, variants: Variants, tmp_path: Path
) -> None:
    chance, results = Random(SEED), Results()  # noqa: S311 it must be repeatable
    server = power_on("pulled", write_log=True)
    life = Life(server, owner, tmp_path / "releases", server.spec.flash.read_bytes())
    images = {sha256_file(image): image for image in (variants.another(2), variants.shifted(3))}
    phases = measured_phases(life, variants.another(2))
    running = sha256_file(variants.another(2))
    for _ in range(COUNT):
        new = next(digest for digest in images if digest != running)
        life.publish(images[new])
        phase = chance.choice(phases)
        results.unflushed[phase.name] += bool(life.pull(phase, chance))
        assert identity(server.paths.flash) == identity(server.spec.flash)
        server.power_on()
        ran = life.check()
        results.ran[phase.name][", then ".join({new: "new", running: "old"}.get(image, image) for image in ran)] += 1
        running = ran[-1]
        assert running in images
        if page := os.environ.get("FLASHVISOR_TABLE"):  # each time: a run that is stopped leaves what it saw
            put_table(Path(page), results.rows(), results.total(), PULLS)
    last = next(digest for digest in images if digest != running)
    life.publish(images[last])
    report = watch(server, owner, push(server, owner, life.releases, force=True))
    assert next(row.image for row in report.slots if row.slot == report.committed) == last
