"""What runs, from a root of our own making."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from flashvisor.host import facts
from flashvisor.host.devices import Device
from flashvisor.model.release import Flavour
from flashvisor.node.preflight import Running
from flashvisor.node.running import look

if TYPE_CHECKING:
    from pathlib import Path

BUILT = 1_767_225_600  # seconds since 1970


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(facts, "kernel_release", lambda: "6.12.1")
    modules = tmp_path / "lib/modules/6.12.1"
    modules.mkdir(parents=True)
    (modules / "modules.alias").write_text("alias virtio:d00000001v* virtio_net\n")
    (modules / "modules.builtin.modinfo").write_bytes(b"nvme.alias=pci:v*d*sv*sd*bc01sc08i02*\0")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("IMAGE_ID=flashvisor-kvm\n")
    os.utime(tmp_path / "etc/os-release", (BUILT, BUILT))
    device = tmp_path / "sys/devices/virtio0"
    (device / "net").mkdir(parents=True)
    (device / "modalias").write_text("virtio:d00000001v00001AF4\n")
    (tmp_path / "sys/bus/virtio/drivers/virtio_net").mkdir(parents=True)
    (device / "driver").symlink_to(tmp_path / "sys/bus/virtio/drivers/virtio_net")
    return tmp_path


def test_flavour_age_drivers_and_devices(root: Path) -> None:
    assert look(root) == Running(
        Flavour.KVM,
        built=BUILT,
        modaliases=("pci:v*d*sv*sd*bc01sc08i02*", "virtio:d00000001v*"),
        devices=(Device("virtio0", "virtio:d00000001v00001AF4", "virtio_net", ("net",)),),
    )


def test_an_ordinary_machine_has_no_flavour(root: Path) -> None:
    (root / "etc/os-release").write_text("ID=debian\n")
    assert look(root).flavour is None
    (root / "etc/os-release").unlink()
    assert (look(root).flavour, look(root).built) == (None, 0.0)


def test_without_its_lists_an_image_blocks_nothing_and_says_so(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "lib/modules/6.12.1/modules.alias").unlink()
    with caplog.at_level(logging.WARNING):
        assert look(root).modaliases == ()
    assert "list of drivers cannot be read" in caplog.text
