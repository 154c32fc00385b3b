"""Flash that is pulled or dies while the server runs, and comes back. A file stands for the device."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import DeviceFaultyError, FlashLostError, FlashWorksError
from flashvisor.flash.carryover import copy
from flashvisor.flash.ramdevice import RamDevice
from flashvisor.flash.ring import Ring
from flashvisor.flash.ringplan import KEEP_BOOTS
from flashvisor.host import uevent
from flashvisor.host.block import BlockFile
from flashvisor.model.record import Boot, Identity, RecordKind, encode
from flashvisor.node.flashkeeper import FlashKeeper
from flashvisor.node.problems import Problems
from flashvisor.node.state import NodeState
from sim.nodekit import RING_SIZE, SITE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDENTITY = Identity(node_name="alpha", owner_ca_pem="ca", node_cert_pem="cert", node_key_pem="key")


class Bench:
    """A server's flash as a file, and who keeps it."""

    def __init__(self, directory: Path) -> None:
        self.path, self.copy, self.away = directory / "state", directory / "memory.ring", directory / "away"
        with self.path.open("wb") as file:
            file.truncate(RING_SIZE)
        with BlockFile(self.path, write=True) as device:
            Ring.open(device).append(RecordKind.IDENTITY, encode(IDENTITY), cause="burn")
        self.said: list[str] = []
        self.problems = Problems(self.said.append)
        self.keeper = self.make()

    def make(self) -> FlashKeeper:
        return FlashKeeper(self.path, self.problems, copy=self.copy)

    @property
    def state(self) -> NodeState:
        return NodeState(self.keeper.ring, self.keeper.lock)

    def pull(self) -> None:
        """The device is away: a file that is open and has no name any more."""
        shutil.copyfile(self.path, self.away)
        self.path.unlink()

    def put_back(self) -> None:
        shutil.copyfile(self.away, self.path)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    with bench.keeper:
        yield bench


def propose(state: NodeState) -> int:
    return state.propose(SITE, {}, who="anna", when=1.0).generation


def test_a_pulled_flash_is_told_once_and_memory_stays(bench: Bench) -> None:
    state = bench.state
    state.confirm(propose(state))
    bench.pull()
    assert not bench.keeper.look()
    assert not bench.keeper.look()
    assert bench.problems.about("flash").startswith("FV-FLASH-020: the flash was pulled or died: guests go on")
    assert sum("was pulled" in line for line in bench.said) == 1
    assert state.identity() == IDENTITY
    assert state.confirmed() is not None


def test_nothing_is_half_written_while_it_is_lost(bench: Bench) -> None:
    state = bench.state
    bench.pull()
    bench.keeper.look()
    for _ in range(2):
        with pytest.raises(FlashLostError):
            propose(state)
    assert state.confirmed() is None
    bench.put_back()
    assert bench.keeper.look()
    assert propose(state) == 1


def test_a_write_that_fails_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DeviceFaultyError("writing at byte 0: Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(BlockFile, "write", fail)
        with pytest.raises(FlashLostError) as caught:
            propose(bench.state)
    assert "Input/output error" in caught.value.evidence
    assert bench.keeper.lost
    assert "died" in bench.problems.about("flash")
    # The device is still there, and may fail again at the next write: it is not taken up before it was pulled.
    assert not bench.keeper.look()
    bench.pull()
    assert not bench.keeper.look()
    bench.put_back()
    assert bench.keeper.look()


def test_a_device_that_has_what_it_did_not_acknowledge_is_taken_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick that is reset by its own controller under a write: its bytes are there, the answer never came."""

    def fail(*_: object) -> None:
        raise DeviceFaultyError("flushing: Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(BlockFile, "flush", fail)
        for _ in range(2):
            with pytest.raises(FlashLostError):
                propose(bench.state)
    assert bench.state.history() == []
    bench.pull()
    assert not bench.keeper.look()
    bench.put_back()
    assert bench.keeper.look()
    assert [each.config.generation for each in bench.state.history()] == [1]
    assert propose(bench.state) == 2


def test_a_device_that_does_not_answer_is_noticed_by_a_close_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise DeviceFaultyError("reading at byte 0: Input/output error")

    assert bench.keeper.look(closely=True)
    with monkeypatch.context() as patch:
        patch.setattr(BlockFile, "read", fail)
        assert bench.keeper.look()
        assert not bench.keeper.look(closely=True)


def test_the_same_device_is_taken_up_again(bench: Bench) -> None:
    state, back = bench.state, []
    bench.keeper.on_back = lambda: back.append(state.identity())
    bench.pull()
    bench.keeper.look()
    assert back == []
    bench.put_back()
    assert bench.keeper.look()
    assert bench.keeper.look()
    assert back == [IDENTITY], "told once, when the lock is free again"
    assert bench.problems.all() == ()
    assert not bench.copy.exists()
    state.confirm(propose(state))
    with BlockFile(bench.path) as device:
        assert Ring.open(device).records(RecordKind.CONFIRM)


def test_another_servers_device_is_not_taken(bench: Bench) -> None:
    bench.pull()
    bench.keeper.look()
    bench.put_back()
    with BlockFile(bench.path, write=True) as device:
        Ring.open(device).append(RecordKind.BOOT, encode(Boot(when=1.0, image_id="x", version="0")), cause="boot")
    assert not bench.keeper.look()
    assert "does not hold this server's memory" in bench.problems.about("flash")
    told = len(bench.said)
    assert not bench.keeper.look()
    assert len(bench.said) == told


def test_an_agent_that_starts_again_without_flash_knows_who_it_is(bench: Bench) -> None:
    # More boots than are kept: records lie otherwise in a copy.
    for _ in range(KEEP_BOOTS + 6):
        bench.state.note_boot(Boot(when=1.0, image_id="x", version="0"))
    generation = propose(bench.state)
    bench.state.confirm(generation)
    bench.pull()
    bench.keeper.look()
    assert bench.copy.stat().st_mode & 0o777 == 0o600
    with bench.make() as second:
        state = NodeState(second.ring, second.lock)
        assert second.lost
        assert state.identity() == IDENTITY
        assert state.confirmed() is not None
        assert bench.problems.about("flash")
        bench.put_back()
        assert second.look()
        assert propose(state) == generation + 1
    with BlockFile(bench.path) as device:
        ring = Ring.open(device)
    assert ring.lost == ()
    assert [record.cause for record in ring.kept] == ["burn", *["boot"] * KEEP_BOOTS, "apply", "confirm", "apply"]


def test_an_agent_that_starts_again_does_not_become_another_server(bench: Bench) -> None:
    bench.pull()
    bench.keeper.look()
    bench.path.write_bytes(bytes(RING_SIZE))
    with bench.make() as second:
        assert second.lost
        assert NodeState(second.ring).identity() == IDENTITY
        assert "does not hold this server's memory" in bench.problems.about("flash")
    bench.put_back()
    with bench.make() as third:
        assert not third.lost
        assert bench.problems.all() == ()


def test_a_new_device_becomes_the_flash(bench: Bench) -> None:
    bench.pull()
    bench.keeper.look()
    new = RamDevice(RING_SIZE)
    ring = copy(bench.keeper.ring, new)
    ring.append(RecordKind.BOOT, encode(Boot(when=1.0, image_id="x", version="0")), cause="burn")
    bench.keeper.become(ring)
    bench.path.write_bytes(new.read(0, RING_SIZE))
    assert bench.keeper.look()
    bench.state.confirm(propose(bench.state))
    with BlockFile(bench.path) as device:
        assert [record.cause for record in Ring.open(device).kept][-2:] == ["apply", "confirm"]


def test_a_flash_that_works_becomes_no_other(bench: Bench) -> None:
    with pytest.raises(FlashWorksError):
        bench.keeper.become(bench.keeper.ring)


def test_who_watches_goes_on_after_what_could_not_be_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    came = []

    def on_back() -> None:
        came.append("back")
        raise OSError("no room")

    def news() -> Iterator[None]:
        for change in (bench.pull, bench.put_back, bench.pull, bench.put_back):
            change()
            yield

    bench.keeper.on_back = on_back
    monkeypatch.setattr(uevent, "news", news)
    bench.keeper.watch()
    assert came == ["back", "back"]
