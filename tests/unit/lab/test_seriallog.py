"""The serial log: lines found once, stamped honestly, and read by people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import RackStateError
from flashvisor.host import clock
from flashvisor.lab.machine import Paths
from flashvisor.lab.seriallog import Moment, SerialLog, Tail, find_moments, last_lines, settle

if TYPE_CHECKING:
    from pathlib import Path

FIRMWARE = b'\x1b[2JBdsDxe: starting Boot0001 "UEFI QEMU USB" from PciRoot(0x0)\r\n'
AGENT = b"flashvisor: stage=agent t=1.50\r\n"
READY = b"flashvisor: stage=ready t=2.25\r\n"


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def add(paths: Paths, data: bytes) -> None:
    with paths.serial_log.open("ab") as file:
        file.write(data)


def moment(name: str, seconds: float, own: float | None = None) -> Moment:
    return Moment(name=name, seconds=seconds, within=0.05, offset=0, own=own)


def test_firmware_and_stages_are_found_at_their_offsets() -> None:
    found = find_moments(FIRMWARE + b"noise\r\n" + AGENT, offset=1000, seconds=9.0, within=0.05)
    assert found == [
        Moment(name="firmware", seconds=9.0, within=0.05, offset=1000),
        Moment(name="agent", seconds=9.0, within=0.05, offset=1000 + len(FIRMWARE) + 7, own=1.5),
    ]


def test_a_line_is_stamped_by_the_look_that_finds_it_with_its_uncertainty(paths: Paths, watch: Clock) -> None:
    log = SerialLog(paths, power_on=100.0)
    watch.now = 104.0
    log.look()
    add(paths, FIRMWARE)
    watch.now = 104.05
    log.look()
    watch.now = 110.0
    add(paths, AGENT)
    log.look()
    assert [(each.name, each.seconds, each.within) for each in log.moments()] == [
        ("firmware", 4.05, 0.05),
        ("agent", 10.0, 5.95),
    ]


def test_half_a_line_waits_for_its_other_half(paths: Paths, watch: Clock) -> None:
    log = SerialLog(paths, power_on=watch.now)
    add(paths, READY[:25])
    log.look()
    assert log.moments() == ()
    add(paths, READY[25:])
    log.look()
    assert [each.own for each in log.moments()] == [2.25]


def test_two_that_wait_stamp_a_line_once(paths: Paths, watch: Clock) -> None:
    one, two = SerialLog(paths, power_on=watch.now), SerialLog(paths, power_on=watch.now)
    add(paths, FIRMWARE + AGENT)
    one.look()
    two.look()
    add(paths, READY)
    two.look()
    one.look()
    SerialLog(paths, power_on=watch.now).look()
    assert [each.name for each in one.moments()] == ["firmware", "agent", "ready"]


def test_a_damaged_record_is_an_error(paths: Paths) -> None:
    paths.moments.write_text('{"moments": [1]}')
    with pytest.raises(RackStateError, match=r"moments\.json"):
        SerialLog(paths, power_on=0.0)


def test_each_boot_is_put_on_the_labs_clock_by_its_nearest_line() -> None:
    boots = [
        moment("firmware", 4.0),
        moment("kernel", 9.5, own=1.25),  # reported late, by the agent
        moment("agent", 9.5, own=2.0),
        moment("ready", 10.0, own=3.0),
        moment("firmware", 20.0),
        moment("agent", 23.0, own=1.0),
    ]
    assert [(each.name, each.seconds, each.own) for each in settle(boots)] == [
        ("firmware", 4.0, None),
        ("kernel-start", 7.0, 0.0),
        ("kernel", 8.25, 1.25),
        ("agent", 9.0, 2.0),
        ("ready", 10.0, 3.0),
        ("firmware", 20.0, None),
        ("kernel-start", 22.0, 0.0),
        ("agent", 23.0, 1.0),
    ]


def test_without_a_stage_no_kernel_is_claimed() -> None:
    assert [each.name for each in settle([moment("firmware", 4.0)])] == ["firmware"]


def test_a_tail_gives_an_unfinished_line_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.read() == b""
    path.write_bytes(b"one\nlog")
    assert tail.read() == b"one\nlog"
    path.write_bytes(b"one\nlogin: ")
    assert tail.read() == b"login: "


def test_last_lines_are_for_people(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert last_lines(path) == ""
    path.write_bytes(b"first\r\n\r\n\x1b[2J\x1b[01;01H\x1b[=3hsecond\r\n   \nthird")
    assert last_lines(path, 2) == "second\nthird"
