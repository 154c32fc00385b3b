"""`burn --via`: which device is taken, what is sent, what is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flashvisor.api.types import Medium
from flashvisor.cli.burn import choose
from flashvisor.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sim.nodesim import NodeSim
    from unit.cli.conftest import Ran

STICK = Medium(name="sdb", serial="S1", model="Stick", size=128_000_000, removable=True)
DISK = Medium(name="nvme0n1", serial="N1", model="Disk", size=1 << 34, removable=False, refusal="not removable")
SIZE = 3 << 20  # bytes


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "flash.img"
    path.write_bytes(bytes(512) + b"EFI PART" + bytes(SIZE - 520))
    return path


def test_the_only_fitting_device_is_burned(flashvisor: Callable[..., Ran], sim: NodeSim, image: Path) -> None:
    sim.media = (DISK, STICK)
    ran = flashvisor("burn", "--via", "alpha.example", str(image))
    assert ran.status == 0
    assert sim.burned == ("sdb", SIZE)
    assert "nvme0n1" in ran.stdout, "what the server offers is listed"
    assert "this server stays 'alpha'" in ran.stdout
    assert "starts from it from now on" in ran.stdout
    assert "Burning sdb at alpha.example:443" in ran.stderr


def test_a_device_and_serial_that_are_named_are_sent(flashvisor: Callable[..., Ran], sim: NodeSim, image: Path) -> None:
    sim.media = (DISK, STICK)
    ran = flashvisor("burn", "--via", "alpha.example", str(image), "/dev/nvme0n1", "--serial", "N1", "--json")
    assert sim.burned == ("nvme0n1", SIZE)
    assert sim.query == {"serial": "N1"}
    assert json.loads(ran.stdout)["in_use"] is True


def test_the_servers_no_is_shown(flashvisor: Callable[..., Ran], sim: NodeSim, image: Path) -> None:
    sim.media = (STICK,)
    ran = flashvisor("burn", "--via", "alpha.example", str(image), "sdc")
    assert ran.status == 3
    assert "no disk 'sdc'" in ran.stderr


def test_what_is_no_image_is_not_sent(flashvisor: Callable[..., Ran], sim: NodeSim, image: Path) -> None:
    image.write_bytes(bytes(SIZE))
    assert flashvisor("burn", "--via", "alpha.example", str(image)).status == 2
    assert sim.calls == []


def test_without_via_a_device_is_needed(flashvisor: Callable[..., Ran], image: Path) -> None:
    ran = flashvisor("burn", str(image))
    assert ran.status == 2
    assert "DEVICE is missing" in ran.stderr


def test_a_choice_must_be_plain() -> None:
    assert choose((STICK, DISK), None, None) == "sdb"
    assert choose((STICK, DISK), None, "N1") == "nvme0n1"
    assert choose((), "sdx", None) == "sdx"
    with pytest.raises(DeviceError, match="the server has 0"):
        choose((DISK,), None, None)
    with pytest.raises(DeviceError, match="the server has 2"):
        choose((STICK, STICK), None, None)
