"""Which disk may become flash, and the whole way from a lost flash to a new one. Files stand for devices."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import (
    BadRequestError,
    BusyError,
    DeviceError,
    DeviceFaultyError,
    FlashLostError,
    FlashWorksError,
    LayoutError,
)
from flashvisor.flash.layout import ALIGNMENT, DEVICE_SIZE, SECTOR, STATE
from flashvisor.flash.ramdevice import RamDevice
from flashvisor.flash.ring import Ring
from flashvisor.host.blkid import Signature
from flashvisor.host.block import BlockFile, DiskFacts
from flashvisor.host.files import bytes_on_disk
from flashvisor.model.record import Identity, Slots, encode, kind_of
from flashvisor.model.slot import Slot
from flashvisor.node import newflash
from flashvisor.node.fakemachine import FakeMachine, blank_disk
from flashvisor.node.flashkeeper import FlashKeeper
from flashvisor.node.newflash import Burning, NewFlash, check_medium
from flashvisor.node.problems import Problems
from flashvisor.node.state import NodeState
from sim.nodekit import SITE, desired

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.api.flashtypes import BurnReport

ALPHA = Identity(node_name="alpha", owner_ca_pem="ca", node_cert_pem="cert", node_key_pem="alpha's key")
BETA = Identity(node_name="beta", owner_ca_pem="ca", node_cert_pem="cert", node_key_pem="beta's key")


def stick(path: Path, **changes: object) -> DiskFacts:
    facts = DiskFacts(path, path.name, is_block=True, whole=True, size=DEVICE_SIZE, removable=True, serial="S1",
                      model="Stick", in_use=())  # fmt: skip
    return replace(facts, **changes)  # type: ignore[arg-type]


def image(*payloads: Identity | Slots) -> RamDevice:
    """A flash image, empty but for its table's signature and its ring."""
    ring = RamDevice(STATE.size)
    opened = Ring.open(ring)
    for payload in payloads:
        opened.append(kind_of(payload), encode(payload), cause="burn")
    device = RamDevice(DEVICE_SIZE)
    device.write(SECTOR, b"EFI PART")
    device.write(STATE.start, ring.read(0, STATE.size))
    return device


IMAGE = image(BETA, Slots(when=0.0, committed=Slot.A))


class Bench:
    """A server with a site, and a stick beside it."""

    def __init__(self, directory: Path) -> None:
        self.path, self.stick = directory / "state", directory / "sdz"
        with self.path.open("wb") as file:
            file.truncate(STATE.size)
        with BlockFile(self.path, write=True) as device:
            Ring.open(device).append(kind_of(ALPHA), encode(ALPHA), cause="burn")
        with self.stick.open("wb") as file:
            file.truncate(DEVICE_SIZE)
        self.machine = FakeMachine((blank_disk("data0"),))
        self.machine.plugged = [stick(self.stick)]
        self.machine.partition = self.partition
        self.problems = Problems(lambda _line: None)
        self.keeper = FlashKeeper(self.path, self.problems, copy=directory / "memory.ring")
        self.new = NewFlash(self.keeper, self.machine, desired)

    @property
    def state(self) -> NodeState:
        return NodeState(self.keeper.ring, self.keeper.lock)

    def partition(self, disk: Path) -> None:
        """What the kernel and udev do with a disk that was burned."""
        with BlockFile(disk) as device:
            self.path.write_bytes(device.read(STATE.start, STATE.size))

    def lose(self) -> None:
        self.path.unlink()
        self.keeper.look()

    def burn(self, source: RamDevice = IMAGE) -> BurnReport:
        burning = self.new.begin("sdz", None, DEVICE_SIZE)
        try:
            send(burning, source)
            *steps, last = burning.finish()
        finally:
            burning.close()
        assert sum(step.compared for step in steps) == DEVICE_SIZE
        assert last.done is not None
        return last.done


def send(burning: Burning, source: RamDevice) -> None:
    for start in range(0, DEVICE_SIZE, ALIGNMENT):
        burning.take(source.read(start, min(ALIGNMENT, DEVICE_SIZE - start)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    with bench.keeper:
        bench.state.confirm(bench.state.propose(SITE, {}, who="anna", when=1.0).generation)
        yield bench


def test_a_burnt_stick_is_this_servers_flash(bench: Bench) -> None:
    bench.lose()
    report = bench.burn()
    assert report.in_use
    assert report.notes == ("the image was made for 'beta'; this server stays 'alpha'",)
    assert bench.problems.all() == ()
    bench.state.confirm(bench.state.propose(SITE + "\n", {}, who="anna", when=2.0).generation)
    with BlockFile(bench.path) as device:
        after = NodeState(Ring.open(device))
        assert after.identity() == ALPHA
        site = after.confirmed()
        assert site is not None
        assert (site.generation, site.site_toml) == (2, SITE + "\n")
    assert b"beta's key" not in bench.stick.read_bytes()


def test_a_stick_that_does_not_appear_is_told_and_taken_up_later(bench: Bench) -> None:
    bench.lose()
    bench.machine.partition = lambda _disk: None
    report = bench.burn()
    assert not report.in_use
    assert "take the old device out" in report.notes[-1]
    with pytest.raises(FlashLostError):
        bench.state.confirm(1)
    bench.partition(bench.stick)
    assert bench.keeper.look()


def test_an_image_that_firmware_will_refuse_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.lose()
    monkeypatch.setattr(newflash, "refused_slots", lambda machine: ("a", "factory") if machine is bench.machine else ())
    assert "image in a and factory is not signed" in bench.burn().notes[-1]


def test_flash_that_works_is_not_replaced(bench: Bench) -> None:
    with pytest.raises(FlashWorksError):
        bench.new.begin("sdz", None, DEVICE_SIZE)
    assert bytes_on_disk(bench.stick) == 0


def test_a_device_that_comes_back_during_the_burn_stays_this_servers_flash(bench: Bench) -> None:
    away = bench.path.read_bytes()
    bench.lose()
    burning = bench.new.begin("sdz", None, DEVICE_SIZE)
    try:
        send(burning, IMAGE)
        bench.path.write_bytes(away)
        assert bench.keeper.look()
        with pytest.raises(FlashWorksError, match="came back"):
            list(burning.finish())
    finally:
        burning.close()
    assert bench.state.identity() == ALPHA
    assert not bench.problems.about("flash")


def test_one_burn_at_a_time(bench: Bench) -> None:
    bench.lose()
    burning = bench.new.begin("sdz", None, DEVICE_SIZE)
    with pytest.raises(BusyError):
        bench.new.begin("sdz", None, DEVICE_SIZE)
    burning.close()
    burning.close()
    bench.new.begin("sdz", None, DEVICE_SIZE).close()


def test_what_cannot_be_burned_is_refused_before_a_byte_is_written(bench: Bench) -> None:
    bench.lose()
    with pytest.raises(DeviceError, match="no disk 'sdy'"):
        bench.new.begin("sdy", None, DEVICE_SIZE)
    with pytest.raises(BadRequestError, match="of 128000000 bytes"):
        bench.new.begin("sdz", None, 5)
    assert bytes_on_disk(bench.stick) == 0


def test_an_image_that_says_nothing_of_its_slots_leaves_the_stick_empty(bench: Bench) -> None:
    bench.lose()
    with pytest.raises(LayoutError):
        bench.burn(image(BETA))
    with BlockFile(bench.stick) as device:
        assert not any(device.read(0, ALIGNMENT))
    assert bench.keeper.lost


def test_a_stick_that_lies_is_found_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.lose()
    monkeypatch.setattr(BlockFile, "forget_cache", lambda self: self.write(5 * ALIGNMENT, b"rot"))
    with pytest.raises(DeviceFaultyError, match="other bytes"):
        bench.burn()
    assert bench.keeper.lost


def test_media_say_why_they_are_not_taken(bench: Bench, tmp_path: Path) -> None:
    fixed = stick(tmp_path / "nvme0n1", removable=False, serial="N1")
    bench.machine.plugged = [stick(bench.stick), fixed, stick(tmp_path / "sdy", size=1000)]
    found = {each.name: each.refusal for each in bench.new.media()}
    assert found["sdz"] == ""
    assert "does not say that it is removable" in found["nvme0n1"]
    assert "too small" in found["sdy"]


def test_a_disk_with_our_data_is_never_taken(tmp_path: Path) -> None:
    disk = stick(tmp_path / "sdz")
    labelled = replace(blank_disk("x"), signature=Signature(kind="ext4", label="fv-old"), blank=False)
    with pytest.raises(DeviceError, match="storage old"):
        check_medium(disk, labelled, None, "S1")
    with pytest.raises(DeviceError, match="data disk of storage main"):
        check_medium(disk, blank_disk("data0"), desired(), "S1")
    with pytest.raises(DeviceError, match=re.escape("/mnt")):
        check_medium(replace(disk, in_use=("/dev/sdz1 is mounted on /mnt",)), None, None, None)
    check_medium(disk, replace(blank_disk("x"), signature=Signature(kind="vfat", label="STICK")), desired(), None)
