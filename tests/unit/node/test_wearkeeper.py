"""The ledger of wear over boots: what is booked, what a cut loses, and what is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.flash.layout import SLOT_SIZE
from flashvisor.flash.ring import Ring
from flashvisor.flash.ringformat import PAGE
from flashvisor.flash.wear import DAILY_BUDGET
from flashvisor.model.record import Boot, RecordKind, Slots, Wear, encode
from flashvisor.model.record import SlotNote as Note
from flashvisor.model.slot import SlotState
from flashvisor.node.fakemachine import FakeMachine
from flashvisor.node.problems import Problems
from flashvisor.node.state import NodeState
from flashvisor.node.wearkeeper import BUDGET, COUNT, CUT_SHORT, WearKeeper
from sim.flashsim import FlashSim
from sim.nodekit import RING_SIZE, SITE, TODAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashvisor.api.flashtypes import FlashReport

BOOT = Boot(when=1.0, image_id="x", version="0")
WRITING = Slots(when=1.0, b=Note(state=SlotState.WRITING))
SLOT_WRITES = [(0, 8 * PAGE), (1 << 20, 4 * PAGE)]


@dataclass
class Booted:
    """A server between two starts. `slots` is what was written outside the ring since then; `day` may be moved."""

    flash: FlashSim
    run: Path
    said: list[str]
    slots: int = 0
    day: date = TODAY

    def __post_init__(self) -> None:
        self.machine, self.problems = FakeMachine(), Problems(self.said.append)
        self.machine.counted = lambda: sum(length for _, length in self.flash.writes) + self.slots
        self.start_agent()

    def start_agent(self) -> None:
        self.wear = WearKeeper(self.machine, self.problems, keep=self.run / "wear.json", today=lambda: self.day)
        self.ring = Ring.open(self.flash, book=self.wear.book)
        self.state = NodeState(self.ring)
        self.wear.take_up(self.state)

    def write_slot(self, ranges: Sequence[tuple[int, int]] = SLOT_WRITES) -> None:
        """As the slot's keeper does it."""
        self.ring.append(RecordKind.SLOTS, encode(WRITING), cause="update")
        with self.wear.writing():
            self.slots += sum(length for _, length in ranges)
            assert self.wear.report().counted_since_boot is None
            self.wear.book_slot("update", ranges)

    def reboot(self, run: Path) -> Booted:
        """Pulls the plug and starts again: what was kept in memory is gone, and the kernel counts from 0."""
        self.flash.cut()
        return Booted(self.flash.power_on(), run, [])


@pytest.fixture
def booted(tmp_path: Path) -> Booted:
    return Booted(FlashSim(RING_SIZE), tmp_path / "first", [])


def apply(server: Booted, text: str = SITE) -> None:
    server.state.confirm(server.state.propose(text, {}, who="anna", when=1.0).generation)


def agreed(server: Booted) -> FlashReport:
    """The report of a server whose sums are those of the simulated kernel."""
    report = server.wear.report()
    assert server.problems.all() == ()
    assert report.booked_since_boot == report.counted_since_boot
    assert sum(report.by_cause.values()) == report.written
    return report


def test_every_byte_is_booked_to_its_cause_and_the_ledger_to_its_own(booted: Booted) -> None:
    apply(booted)
    booted.state.note_boot(BOOT)
    booted.wear.save()
    report = agreed(booted)
    assert report.by_cause == {"apply": PAGE, "confirm": PAGE, "boot": PAGE, "wear ledger": PAGE}
    assert report.written == report.today == 4 * PAGE
    assert report.by_day == {TODAY.isoformat(): report.by_cause}


def test_reading_and_reporting_write_nothing(booted: Booted) -> None:
    booted.wear.report()
    assert booted.flash.writes == []


def test_what_was_written_after_the_ledger_is_found_again_by_cause_after_a_cut(booted: Booted, tmp_path: Path) -> None:
    booted.state.note_boot(BOOT)
    booted.wear.save()
    apply(booted, SITE + "# " + "".join(map(str, range(9000))))
    before = agreed(booted)
    after = agreed(booted.reboot(tmp_path / "second"))
    assert (after.written, after.by_cause) == (before.written, before.by_cause)
    assert after.booked_since_boot == 0


def test_the_sum_is_right_when_records_that_were_written_are_no_longer_kept(booted: Booted, tmp_path: Path) -> None:
    for _ in range(400):
        booted.state.note_boot(BOOT)
    before = agreed(booted)
    assert before.by_cause["boot"] == 400 * PAGE
    after = agreed(booted.reboot(tmp_path / "second"))
    assert after.written == before.written == sum(length for _, length in booted.flash.writes)
    assert after.by_cause["compaction"] > 0


def test_compaction_is_booked(booted: Booted, tmp_path: Path) -> None:
    server = booted
    for number in range(40):
        for _ in range(16):
            server.state.note_boot(BOOT)
        server.wear.save()
        server = server.reboot(tmp_path / str(number))
    agreed(server)
    apply(server)
    for _ in range(600):
        server.state.note_boot(BOOT)
    assert agreed(server).by_cause["compaction"] >= PAGE


def test_a_slot_is_booked_and_not_lost_by_a_cut(booted: Booted, tmp_path: Path) -> None:
    booted.write_slot()
    assert agreed(booted).by_cause == {"update": 13 * PAGE, "wear ledger": PAGE}
    after = agreed(booted.reboot(tmp_path / "second"))
    assert after.by_cause == {"update": 13 * PAGE, "wear ledger": PAGE}


def test_of_a_slot_that_was_being_written_at_a_cut_the_most_is_booked(booted: Booted, tmp_path: Path) -> None:
    booted.ring.append(RecordKind.SLOTS, encode(WRITING), cause="update")
    booted.slots += 5 * PAGE
    second = booted.reboot(tmp_path / "second")
    assert agreed(second).by_cause == {"update": PAGE, CUT_SHORT: SLOT_SIZE}
    second.wear.save()
    assert agreed(second.reboot(tmp_path / "third")).by_cause[CUT_SHORT] == SLOT_SIZE


def test_an_agent_that_was_restarted_asks_the_kernel_how_far_the_slot_came(booted: Booted) -> None:
    booted.state.note_boot(BOOT)
    booted.ring.append(RecordKind.SLOTS, encode(WRITING), cause="update")
    booted.slots += 5 * PAGE
    booted.start_agent()
    report = agreed(booted)
    assert report.by_cause == {"boot": PAGE, "update": PAGE, CUT_SHORT: 5 * PAGE}
    assert report.booked_since_boot == 7 * PAGE


def test_another_writer_is_told_and_taken_back_when_it_was_none(booted: Booted) -> None:
    booted.slots += 3 * PAGE
    report = booted.wear.report()
    assert (report.booked_since_boot, report.counted_since_boot) == (0, 3 * PAGE)
    assert booted.problems.about(COUNT).startswith("FV-FLASH-030: 12 KiB were written to the flash device")
    booted.state.note_boot(BOOT)
    assert len([line for line in booted.said if "FV-FLASH-030" in line]) == 1
    booted.slots = 0
    agreed(booted)


def test_a_write_that_the_kernel_did_not_count_is_told_when_it_is_booked(booted: Booted) -> None:
    booted.slots -= PAGE
    booted.state.note_boot(BOOT)
    assert "missing in the kernel's count" in booted.problems.about(COUNT)


def test_what_a_lost_flash_may_never_have_taken_is_no_disagreement(booted: Booted) -> None:
    booted.wear.lost = lambda: True
    booted.wear.book("apply", [(0, PAGE)])
    assert booted.problems.all() == ()
    booted.wear.lost = lambda: False
    booted.wear.book("apply", [])
    assert "FV-FLASH-030" in booted.problems.all()[0]


def test_a_broken_budget_is_told_once_a_day_and_names_the_cause(booted: Booted) -> None:
    for _ in range(3):
        booted.write_slot([(0, DAILY_BUDGET)])
    assert "update 190" in booted.problems.about(BUDGET) or "update 95.4 MiB" in booted.problems.about(BUDGET)
    assert len([line for line in booted.said if "FV-FLASH-031" in line]) == 1
    booted.day = date(2026, 11, 25)
    agreed(booted)
    booted.write_slot([(0, 2 * DAILY_BUDGET)])
    assert len([line for line in booted.said if "FV-FLASH-031" in line]) == 2


def test_a_server_that_forgets_its_owner_remembers_how_worn_it_is_and_no_more(booted: Booted, tmp_path: Path) -> None:
    apply(booted)
    booted.write_slot()
    booted.state.wipe()
    assert (booted.state.history(), booted.state.bytes_written) == ([], 0)
    booted.wear.keep_sums_only()
    before = agreed(booted)
    assert before.by_cause["wipe"] == RING_SIZE
    second = booted.reboot(tmp_path / "second")
    after = agreed(second)
    assert (after.written, after.by_cause) == (before.written, before.by_cause)
    assert second.state.history() == []
    assert list(after.by_day) == [TODAY.isoformat()]
    assert after.by_day[TODAY.isoformat()] == {"wear ledger": PAGE}


def test_a_device_that_was_put_in_while_the_server_runs_counts_from_there(booted: Booted) -> None:
    booted.state.note_boot(BOOT)
    booted.flash, booted.slots = FlashSim(RING_SIZE), 128_000_000
    booted.ring = Ring.open(booted.flash, book=booted.wear.book)
    booted.state = NodeState(booted.ring)
    booted.wear.take_up(booted.state, anew=True)
    booted.state.note_boot(BOOT)
    report = booted.wear.report()
    assert booted.problems.all() == ()
    assert report.by_cause == {"boot": PAGE}


def test_a_damaged_ledger_is_replaced_by_the_one_before(booted: Booted, tmp_path: Path) -> None:
    booted.wear.save()
    booted.write_slot()
    place = next(offset for offset, _ in reversed(booted.flash.writes))
    before = agreed(booted)
    booted.flash.flip((place + 300) * 8)
    report = agreed(booted.reboot(tmp_path / "second"))
    # What the slot took stood in the damaged one only: the most is booked.
    assert report.by_cause[CUT_SHORT] == SLOT_SIZE
    assert report.written == before.written - 12 * PAGE + SLOT_SIZE


def test_a_ledger_is_read_as_it_was_written() -> None:
    flash = FlashSim(RING_SIZE)
    Ring.open(flash).append(RecordKind.WEAR, encode(Wear(bytes_written=7, by_cause={"burn": 7})), cause="x")
    ledger = NodeState(Ring.open(flash)).wear(TODAY)
    assert ledger.by_cause == {"burn": 7, "x": PAGE}
    assert (ledger.bytes_written, ledger.ring) == (7 + PAGE, PAGE)
