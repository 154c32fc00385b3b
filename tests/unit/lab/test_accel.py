"""The choice between KVM and emulation: asked once per boot, and a wish goes first. The probe itself: tests/tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import CommandTimeoutError
from flashvisor.host import processes, qemu_system
from flashvisor.lab import accel
from flashvisor.lab.machine import Accel

if TYPE_CHECKING:
    from pathlib import Path


class Machine:
    """A machine whose KVM does or does not boot a guest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.boots = False
        self.boot = "boot-1"
        self.asked = 0
        monkeypatch.setattr(accel, "probe", self.probe)
        monkeypatch.setattr(processes, "boot_id", lambda: self.boot)
        monkeypatch.setattr(qemu_system, "version", lambda: (7, 2))

    def probe(self, which: Accel) -> bool:
        assert which is Accel.KVM
        self.asked += 1
        return self.boots


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(("boots", "chosen"), [(True, Accel.KVM), (False, Accel.TCG)])
def test_the_probe_decides_and_is_asked_once_per_boot(
    machine: Machine, tmp_path: Path, boots: bool, chosen: Accel
) -> None:
    machine.boots = boots
    assert not accel.is_known(tmp_path)
    assert [accel.choose(tmp_path, None) for _ in range(3)] == [chosen] * 3
    assert (machine.asked, accel.is_known(tmp_path)) == (1, True)
    machine.boot, machine.boots = "boot-2", not boots
    assert not accel.is_known(tmp_path)
    assert accel.choose(tmp_path, None) is not chosen


def test_a_wish_is_not_asked_about(machine: Machine, tmp_path: Path) -> None:
    assert accel.choose(tmp_path, Accel.KVM) is Accel.KVM
    assert machine.asked == 0


def test_a_damaged_answer_is_asked_for_again(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "accel.json").write_text("{")
    assert accel.kvm_boots(tmp_path) is False
    assert machine.asked == 1


def test_a_guest_that_hangs_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(argv: list[str], *, cwd: Path, timeout: float) -> None:
        assert cwd.is_dir()
        raise CommandTimeoutError(f"{argv[0]} did not end within {timeout}")

    monkeypatch.setattr(accel, "run", hang)
    assert accel.probe(Accel.KVM) is False


def test_the_sector_is_one_the_firmware_starts() -> None:
    assert len(accel.BOOT_SECTOR) == 512
    assert accel.BOOT_SECTOR.endswith(b"\x55\xaa")
