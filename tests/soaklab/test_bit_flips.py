"""A bit tips over in each partition of a server that is off: what starts then, with Secure Boot and without.

One life for each: b is committed and a stands by, as after any update. Without Secure Boot, the bit in a slot is in the
image's first byte: no firmware takes the file for a program any more. With it, it is one in the middle, which only the
signature guards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from flashvisor.api.flashtypes import RollbackRequest
from flashvisor.errors import NoRollbackError, RingCorruptError
from flashvisor.flash.layout import PARTITIONS, STATE
from flashvisor.flash.ringformat import HEADER, PAGE, Geometry, Part, read_part
from flashvisor.flash.slots import ROTTEN
from flashvisor.host import clock
from flashvisor.host.block import BlockFile
from flashvisor.lab.trial import READY_LIMIT, connect
from flashvisor.model.record import RecordKind
from lab.updating import put, slots, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.api.flashtypes import SlotsReport
    from flashvisor.image.build import BuildResult
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring
    from lab.variants import Variants

pytestmark = pytest.mark.lab

HEAD = 512  # bytes of an image that tell where it begins
LOOK = 1.0  # seconds between two looks at a trial
Bit = tuple[str, int]  # partition, and offset of the byte in it


@dataclass
class Life:
    """A server whose bits tip over while it is off; `depth`: how deep in an image."""

    server: Server
    owner: Keyring
    depth: int

    def restart_with(self, *bits: Bit) -> SlotsReport:
        """Flips bits, powers on, and returns where the slots stand once nothing is on trial."""
        self.server.power_off()
        for partition, offset in bits:
            self.server.resting_flash.corrupt(partition, offset)
        self.server.power_on()
        self.server.wait_for("stage=ready", READY_LIMIT)
        for _ in clock.ticks(LOOK, READY_LIMIT):
            if not slots(self.server, self.owner).trial:
                return slots(self.server, self.owner)
        raise AssertionError("the trial comes to no end")

    def in_image(self, slot: str, image: Path) -> Bit:
        """A bit of the image that a slot holds."""
        with image.open("rb") as file:
            head = file.read(HEAD)
        region = PARTITIONS[slot]
        with BlockFile(self.server.paths.flash, offset=region.start, length=region.size) as device:
            return slot, device.read(0, region.size).index(head) + self.depth

    def in_record(self, *kinds: RecordKind) -> Bit:
        """A bit of the newest record of these kinds, behind its header; the plug is pulled to look for it."""
        self.server.power_off()
        parts: list[Part] = []
        geometry = Geometry(STATE.size)
        with BlockFile(self.server.paths.flash, offset=STATE.start, length=STATE.size) as device:
            for index in range(geometry.segments):
                segment = device.read(index * geometry.segment, geometry.segment)
                found = (read_part(geometry, segment, index * geometry.pages + page) for page in range(geometry.pages))
                parts += [each.part for each in found if each.part and each.part.kind in kinds]
        newest = max(parts, key=lambda part: part.sequence)
        return "state", geometry.place(newest.epoch, newest.page) * PAGE + HEADER

    def problems(self) -> str:
        with connect(self.server, self.owner) as client:
            return "\n".join(client.node().problems)

    def console(self) -> str:
        return self.server.serial_log.read_text(errors="replace")


@pytest.mark.parametrize("secure_boot", [False, True], ids=["unchecked", "secure-boot"])
def test_a_flipped_bit_never_keeps_a_server_from_starting_a_verified_image(
    power_on: Callable[..., Server],
    owner: Keyring,
    variants: Variants,
    built_image: BuildResult,
    tmp_path: Path,
    *,
    secure_boot: bool,
) -> None:
    server = power_on(f"flipped-{secure_boot:d}", secure_boot=secure_boot)
    new = variants.another(2)
    life = Life(server, owner, new.stat().st_size // 2 if secure_boot else 0)
    report = watch(server, owner, put(server, owner, tmp_path / "releases", new, "0.2"))
    assert report.committed == "b"
    server.power_off()
    of_factory, of_a, of_b = (
        life.in_image(slot, image) for slot, image in (("factory", built_image.efi), ("a", built_image.efi), ("b", new))
    )

    assert running(life.restart_with(of_factory)) == "b"
    assert life.problems() == ""

    # The newest record is lost, whichever it was, and so is what the slots' newest one said: it is found out again.
    assert running(life.restart_with(of_factory, life.in_record(*RecordKind))) == "b"
    report = life.restart_with(life.in_record(RecordKind.SLOTS))
    assert (running(report), report.committed) == ("b", "b")

    report = life.restart_with(of_a)
    assert (running(report), intact(report, "a"), intact(report, "b")) == ("b", False, True)
    with connect(server, owner) as client, pytest.raises(NoRollbackError, match="bytes have changed"):
        client.rollback(RollbackRequest())

    report = life.restart_with(of_a, of_b)
    assert ("Access Denied" in life.console()) == secure_boot
    assert (running(report), report.committed, intact(report, "a")) == ("a", "a", True)
    assert next(row.reason for row in report.failed) == ROTTEN

    report = life.restart_with(of_a)
    assert (report.running, report.recovery) == ("factory", True)
    watch(server, owner, put(server, owner, tmp_path / "releases", variants.another(3), "0.3"))
    report = slots(server, owner)
    assert (report.recovery, intact(report, report.committed)) == (False, True)


def test_what_a_flipped_bit_cost_the_servers_memory_is_told(power_on: Callable[..., Server], owner: Keyring) -> None:
    server = power_on("forgetful")
    life = Life(server, owner, 0)
    life.restart_with(life.in_record(RecordKind.CONFIG))
    assert RingCorruptError.code in life.problems()


def running(report: SlotsReport) -> str:
    """The slot that runs, which is not factory in recovery mode."""
    assert not report.recovery
    return report.running


def intact(report: SlotsReport, slot: str) -> bool | None:
    return next(row.intact for row in report.slots if row.slot == slot)
