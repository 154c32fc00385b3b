"""Devices with a driver, from a sysfs of our own making."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.host.devices import Device, bound

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00"


def put(root: Path, name: str, modalias: str, driver: str = "", *roles: str) -> None:
    place = root / "sys/devices" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "modalias").write_text(f"{modalias}\n")
    for role in roles:
        (place / role).mkdir()
    if driver:
        home = root / "sys/bus/any/drivers" / driver
        home.mkdir(parents=True, exist_ok=True)
        (place / "driver").symlink_to(home)


def test_only_devices_with_a_driver_count_and_alike_ones_once(tmp_path: Path) -> None:
    put(tmp_path, "pci0000:00/0000:00:03.0", NETWORK, "virtio-pci")
    put(tmp_path, "pci0000:00/0000:00:02.0", NETWORK, "virtio-pci")
    put(tmp_path, "pci0000:00/0000:00:02.0/virtio0", "virtio:d00000001v00001AF4", "virtio_net", "net")
    put(tmp_path, "pci0000:00/0000:00:04.0", "pci:v00001AF4d00001005", "")
    assert bound(tmp_path) == (
        Device("pci0000:00/0000:00:02.0", NETWORK, "virtio-pci"),
        Device("pci0000:00/0000:00:02.0/virtio0", "virtio:d00000001v00001AF4", "virtio_net", ("net",)),
    )
    assert bound(tmp_path)[1].name == "virtio0"


def test_a_machine_without_sysfs_has_none(tmp_path: Path) -> None:
    assert bound(tmp_path) == ()
