"""The slots under the agent, on a firmware that is a directory: start, commit, trial, the ways back."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from flashvisor.errors import FirmwareVariableError, FlashLostError, HypervisorError, NoRollbackError, NoSlotsError
from flashvisor.flash.ring import Ring
from flashvisor.flash.slots import IGNORED, WENT_BACK
from flashvisor.host import https
from flashvisor.host.efivars import EfiVars, boot_variables
from flashvisor.model.record import PROBATION_LIMIT, RecordKind, SlotNote, Slots, encode
from flashvisor.model.slot import Slot, SlotState
from flashvisor.node import slotkeeper
from flashvisor.node.fakemachine import FakeMachine
from flashvisor.node.problems import Problems
from flashvisor.node.settings import Settings
from flashvisor.node.slotkeeper import API, OWNER, SEEN, SETTLED, SlotKeeper
from flashvisor.node.slotwork import Tools
from flashvisor.node.state import NodeState
from sim.flashsim import FlashSim
from sim.nodekit import RING_SIZE
from sim.uefisim import start_from

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

OLD, NEW = b"old" * 1000, b"new" * 1000
LIMIT = 20.0  # seconds for a thread


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class FakeGuests:
    """Guests that run and are silent as a test says."""

    def __init__(self) -> None:
        self.quiet: dict[str, str] = {}
        self.lost = False

    def running(self) -> frozenset[str]:
        if self.lost:
            raise HypervisorError("it does not answer")
        return frozenset({"web"})

    def silent(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.quiet[name] for name in names if name in self.quiet)


@dataclass
class Server:
    """What survives a restart, and the keeper of this start."""

    run: Path
    efivars: Path
    flash: FlashSim
    machine: FakeMachine
    checked: bool = False
    said: list[str] = field(default_factory=list)
    restarted: threading.Event = field(default_factory=threading.Event)
    guests: FakeGuests = field(default_factory=FakeGuests)
    now: float = 10.0

    def start(self) -> tuple[Slot, SlotKeeper, Problems]:
        """Firmware starts a slot, whose agent begins."""
        slot = start_from(self.efivars, checked=self.checked)
        for mark in (SETTLED, SEEN):
            (self.run / mark).unlink(missing_ok=True)
        self.restarted.clear()
        problems = Problems(self.said.append)
        tools = Tools(
            run=self.run,
            problems=problems,
            say=self.said.append,
            restart=self.restarted.set,
            book=lambda _cause, _ranges: None,
            wall=lambda: 1.8e9,
            boot_seconds=lambda: self.now,
        )
        return slot, SlotKeeper(self.state(), self.machine, self.guests, tools), problems

    def state(self) -> NodeState:
        return NodeState(Ring.open(self.flash))

    def settled(self) -> bool:
        return (self.run / SETTLED).exists()

    def order(self) -> tuple[int, ...]:
        return boot_variables(self.machine.firmware()).order


def slots(a: SlotNote, b: SlotNote, committed: Slot, factory: bytes = OLD) -> Slots:
    return Slots(when=0.0, committed=committed, a=a, b=b, factory=digest(factory))


def note(data: bytes, state: SlotState, version: str) -> SlotNote:
    return SlotNote(state=state, sha256=digest(data), image=digest(data), version=version)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slotkeeper, "INTERVAL", 0.01)


@pytest.fixture(params=[False, True], ids=["", "secure"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    """As shipped: the same image in factory and a."""
    for name in ("run", "efivars"):
        (tmp_path / name).mkdir()
    (tmp_path / "efivars/any").touch()
    flash, machine = FlashSim(RING_SIZE), FakeMachine()
    machine.variables = EfiVars(tmp_path / "efivars")
    machine.slots = {slot: FlashSim(len(OLD), content=OLD) for slot in Slot}
    made = Server(tmp_path / "run", tmp_path / "efivars", flash, machine, request.param)
    remember(made, slots(note(OLD, SlotState.COMMITTED, "1"), SlotNote(), Slot.A))
    return made


def remember(server: Server, record: Slots) -> None:
    server.state().append(RecordKind.SLOTS, encode(record), "test")


def with_trial(server: Server, health_url: str = "") -> None:
    """New stands in b, whole, and firmware starts it next."""
    server.machine.slots[Slot.B] = FlashSim(len(NEW), content=NEW)
    remember(server, slots(note(OLD, SlotState.COMMITTED, "1"), note(NEW, SlotState.IDLE, "2"), Slot.A))
    for slot in (Slot.FACTORY, Slot.A):
        started, keeper, _ = server.start()
        assert started is slot
        keeper.settle()
        keeper.healthy()
    keeper.rollback(probation=100.0, health_url=health_url)
    assert server.restarted.is_set()


def full(server: Server) -> Callable[[], None]:
    """Firmware has no room for variables, until what this returns is called."""
    firmware = server.machine.variables
    refusal = FirmwareVariableError("UEFI variable BootOrder cannot be written: No space left on device")
    for name in ("write", "delete"):
        setattr(firmware, name, Mock(side_effect=refusal))

    def room() -> None:
        for name in ("write", "delete"):
            delattr(firmware, name)

    return room


def wait_over() -> None:
    """Waits for the end of a trial's thread."""
    for thread in threading.enumerate():
        if thread.name == "trial":
            thread.join(LIMIT)
            assert not thread.is_alive()


def wait_settled(server: Server, keeper: SlotKeeper) -> None:
    wait_over()
    assert server.settled()
    assert keeper.report().trial == ""


def test_the_first_start_stays_in_factory_and_leads_the_next_one_to_a(server: Server) -> None:
    slot, keeper, problems = server.start()
    assert slot is Slot.FACTORY
    assert not keeper.settle()
    assert not server.settled()
    keeper.healthy()
    assert server.settled()
    assert problems.all() == ()
    assert server.start()[0] is Slot.A


def test_a_start_from_the_committed_slot_reads_no_slot_and_settles(server: Server) -> None:
    _, keeper, _ = server.start()
    keeper.settle()
    keeper.healthy()
    slot, keeper, _ = server.start()
    assert slot is Slot.A
    server.machine.slots.clear()  # reading one would be a KeyError
    assert not keeper.settle()
    assert keeper.runs() == "a"
    keeper.healthy()
    report = keeper.report()
    assert (report.running, report.committed, report.recovery, report.trial) == ("a", "a", False, "")
    assert [row.intact for row in report.slots] == [None, None]
    assert server.settled()


def test_factory_with_another_image_hands_over_and_restarts(server: Server) -> None:
    server.machine.slots[Slot.A] = FlashSim(len(NEW), content=NEW)
    remember(server, slots(note(NEW, SlotState.COMMITTED, "2"), SlotNote(), Slot.A))
    slot, keeper, _ = server.start()
    assert slot is Slot.FACTORY
    assert keeper.settle()
    assert server.restarted.is_set()
    assert server.start()[0] is Slot.A


def test_factory_tells_when_no_slot_can_run(server: Server) -> None:
    server.machine.slots[Slot.A] = FlashSim(len(NEW), content=NEW)
    _, keeper, problems = server.start()
    assert not keeper.settle()
    assert keeper.report(verify=True).recovery
    assert "FV-FLASH-011" in problems.about("slots")
    assert "slot a does not hold the bytes that were verified, slot b is empty" in problems.about("slots")


def test_a_trial_ends_well_when_the_owner_came_and_the_guests_answer(server: Server) -> None:
    with_trial(server)
    slot, keeper, _ = server.start()
    assert slot is Slot.B
    assert not keeper.settle()
    keeper.healthy()
    assert not server.settled()
    report = keeper.report()
    assert (report.trial, report.waits_for) == ("b", (OWNER,))
    server.guests.quiet["web"] = "guest web does not answer"
    assert keeper.report().waits_for == (OWNER, "guest web does not answer")
    keeper.heard()
    server.guests.quiet.clear()
    wait_settled(server, keeper)
    assert keeper.report().committed == "b"
    assert server.start()[0] is Slot.B


def test_a_trial_whose_time_is_up_goes_back_and_says_why(server: Server) -> None:
    with_trial(server)
    server.guests.quiet["web"] = "guest web does not run"
    server.now = 101.0
    slot, keeper, _ = server.start()
    assert slot is Slot.B
    keeper.healthy()
    keeper.settle()
    assert server.restarted.wait(LIMIT)
    assert not server.settled()
    slot, keeper, _ = server.start()
    if slot is Slot.FACTORY:  # without Secure Boot; it is the same image as a
        assert not server.checked
        assert not keeper.settle()
        keeper.healthy()
        slot, keeper, _ = server.start()
    assert slot is Slot.A
    keeper.settle()
    failed = keeper.report().failed
    assert [(row.version, row.reason) for row in failed] == [("2", f"{OWNER}; guest web does not run")]


def test_a_server_whose_hypervisor_is_dead_can_go_back_to_an_image_whose_is_not(server: Server) -> None:
    server.guests.lost = True
    with_trial(server)
    record = server.state().slots()
    assert record
    assert record.trial
    assert record.trial.guests == ()


def test_an_agent_that_starts_again_before_the_restart_makes_it_and_firmware_that_ignores_it_ends_the_trial(
    server: Server,
) -> None:
    with_trial(server)
    server.restarted.clear()
    tools = Tools(
        run=server.run,
        problems=Problems(server.said.append),
        say=server.said.append,
        restart=server.restarted.set,
        book=lambda _cause, _ranges: None,
    )
    assert SlotKeeper(server.state(), server.machine, server.guests, tools).settle()
    assert server.restarted.is_set()
    (server.run / SEEN).unlink()  # as a restart does; the variables say that a runs, and that b is next
    keeper = SlotKeeper(server.state(), server.machine, server.guests, tools)
    assert not keeper.settle()
    assert [row.reason for row in keeper.report().failed] == [IGNORED]


def test_a_health_url_that_answers_is_not_enough_while_the_api_does_not_serve(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that starts again finds the network up, and no site in force yet: it knows of no guest to ask for."""
    monkeypatch.setattr(https, "answers", lambda _url, _timeout: True)
    monkeypatch.setattr(slotkeeper, "INTERVAL", 0.05)
    with_trial(server, health_url="http://h/")
    _, keeper, _ = server.start()
    keeper.settle()
    trial = server.state().slots()
    assert trial
    assert trial.trial
    assert keeper.waits_for(trial.trial) == (API,)
    assert not server.settled()
    keeper.healthy()
    wait_settled(server, keeper)
    assert keeper.report().committed == "b"


def test_a_slot_that_rots_during_its_trial_is_not_said_to_be_committed(server: Server) -> None:
    with_trial(server)
    _, keeper, _ = server.start()
    keeper.settle()
    server.machine.slots[Slot.B] = FlashSim(len(NEW), content=OLD)
    keeper.heard()
    wait_over()
    assert keeper.report().committed == "a"
    assert not any("is committed" in line for line in server.said)
    assert server.start()[0] is Slot.FACTORY


def test_going_back_ends_a_trial_that_is_under_way(server: Server) -> None:
    with_trial(server)
    _, keeper, _ = server.start()
    keeper.settle()
    keeper.rollback(probation=100.0, health_url="")
    assert server.restarted.is_set()
    wait_over()
    assert not server.settled()
    assert [row.reason for row in keeper.report().failed] == [WENT_BACK]
    assert server.start()[0] is not Slot.B


def test_a_factory_reset_ends_a_trial_that_is_under_way(server: Server) -> None:
    with_trial(server)
    _, keeper, _ = server.start()
    keeper.settle()
    keeper.factory_reset(keep_site=True)
    keeper.heard()  # else all would be well: the trial finds that it is over
    wait_over()
    assert keeper.report().committed == "factory"
    assert server.start()[0] is Slot.FACTORY


def test_a_server_that_serves_is_not_reset_by_the_timer_because_firmware_takes_no_variable(server: Server) -> None:
    _, keeper, _ = server.start()
    keeper.settle()
    full(server)
    with pytest.raises(FirmwareVariableError):
        keeper.healthy()
    assert server.settled()


def test_a_trial_whose_commit_firmware_does_not_take_stands_and_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slotkeeper, "AGAIN", 0.05)
    with_trial(server)
    _, keeper, problems = server.start()
    keeper.settle()
    room = full(server)
    keeper.heard()
    while not problems.about("slots"):
        assert any(thread.name == "trial" for thread in threading.enumerate())
    assert server.settled()
    assert not server.restarted.is_set()
    room()
    wait_over()
    assert (keeper.report().committed, problems.about("slots")) == ("b", "")


def test_a_trial_that_fails_while_the_flash_is_lost_does_not_reset_what_could_not_start_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slotkeeper, "AGAIN", 0.05)
    with_trial(server)
    _, keeper, problems = server.start()
    server.now = 101.0
    with monkeypatch.context() as pulled:
        pulled.setattr(NodeState, "append", Mock(side_effect=FlashLostError("pulled")))
        keeper.settle()
        while not problems.about("slots"):
            assert any(thread.name == "trial" for thread in threading.enumerate())
    wait_over()  # tried again: flash is there
    assert server.settled()


def test_what_was_read_of_a_device_does_not_count_for_the_next_one(server: Server) -> None:
    _, keeper, _ = server.start()
    keeper.settle()
    assert keeper.report(verify=True).slots[0].intact
    server.machine.slots[Slot.A] = FlashSim(len(NEW), content=NEW)
    assert keeper.report().slots[0].intact
    keeper.forget()
    assert not keeper.report().slots[0].intact


def test_there_is_nothing_to_go_back_to_on_a_new_server(server: Server) -> None:
    _, keeper, _ = server.start()
    with pytest.raises(NoRollbackError):
        keeper.rollback(probation=100.0, health_url="")


def test_a_factory_reset_forgets_the_site_if_asked(server: Server) -> None:
    state = server.state()
    state.confirm(state.propose("[node]", {}, who="anna", when=1.0).generation)
    _, keeper, _ = server.start()
    keeper.factory_reset(keep_site=True)
    assert server.state().confirmed()
    keeper.factory_reset(keep_site=False)
    assert server.state().confirmed() is None
    assert server.start()[0] is Slot.FACTORY


def test_without_uefi_the_server_runs_and_says_that_it_has_no_slots(server: Server) -> None:
    _, keeper, _ = server.start()
    server.machine.variables = EfiVars(server.run / "nothing")
    assert not keeper.settle()
    assert keeper.runs() == ""
    keeper.healthy()
    assert server.settled()
    with pytest.raises(NoSlotsError):
        keeper.report()


def test_the_timer_knows_the_same_file_and_comes_after_the_longest_trial() -> None:
    units = resources.files("flashvisor.node") / "units"
    assert f"ConditionPathExists=!{Settings().run / SETTLED}\n" in (units / "flashvisor-probation.service").read_text()
    minutes = re.search(r"^OnBootSec=(\d+)min$", (units / "flashvisor-probation.timer").read_text(), re.MULTILINE)
    assert minutes
    assert int(minutes[1]) * 60 > PROBATION_LIMIT
