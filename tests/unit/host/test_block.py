"""Facts from a made-up /sys, and BlockFile on regular files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import DeviceError, DeviceFaultyError
from flashvisor.host.block import BlockFile, disk_facts, disks, identity

if TYPE_CHECKING:
    from pathlib import Path


class Machine:
    """A made-up /sys and /proc under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in ("sys/block", "sys/class/block", "proc/self"):
            (root / directory).mkdir(parents=True)
        self.mounts("27 1 254:0 / / rw - ext4 /dev/vda1 rw")

    def disk(self, name: str, bus: str, *, size: int = 128_000_000, removable: bool = False, **files: str) -> Path:
        place = self.root / "sys/devices" / bus / "block" / name
        place.mkdir(parents=True)
        (place / "device").symlink_to(self.root / "sys/devices" / bus)
        write(place, {"size": f"{size // 512}\n", "removable": f"{int(removable)}\n"})
        write(place, {path.replace("__", "/"): text for path, text in files.items()})
        for directory in ("sys/block", "sys/class/block"):
            (self.root / directory / name).symlink_to(place)
        return place

    def partition(self, disk: Path, name: str, *, holder: str = "") -> None:
        (disk / name / "holders").mkdir(parents=True)
        write(disk / name, {"partition": "1\n", "size": "2048\n"})
        if holder:
            (disk / name / "holders" / holder).mkdir()
        (self.root / "sys/class/block" / name).symlink_to(disk / name)

    def mounts(self, *lines: str) -> None:
        (self.root / "proc/self/mountinfo").write_text("\n".join(lines) + "\n")


def write(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_usb_stick_has_the_serial_number_of_the_device_around_it(machine: Machine) -> None:
    machine.disk("sdb", "pci0/usb1/1-2/1-2:1.0/host6/target/6:0:0:0", removable=True, device__model="Flash Stick   \n")
    write(machine.root / "sys/devices/pci0/usb1", {"idVendor": "1d6b\n", "serial": "0000:00:14.0\n"})
    write(machine.root / "sys/devices/pci0/usb1/1-2", {"idVendor": "0951\n", "serial": "FV0001\n"})
    (stick,) = disks(machine.root)
    assert (str(stick.path), stick.name, stick.serial, stick.model) == ("/dev/sdb", "sdb", "FV0001", "Flash Stick")
    assert (stick.size, stick.removable, stick.whole, stick.is_block, stick.in_use) == (
        128_000_000,
        True,
        True,
        True,
        (),
    )


def test_serial_numbers_of_other_buses(machine: Machine) -> None:
    machine.disk("nvme0n1", "pci1/nvme/nvme0", device__serial="data0   \n")
    machine.disk("vda", "pci2/virtio0", serial="disk-1")
    scsi = machine.disk("sda", "pci3/host0/target/0:0:0:0")
    (scsi / "device/vpd_pg80").write_bytes(b"\0\x80\0\x0a  WD-12345")
    machine.disk("sdc", "pci4/host1/target/1:0:0:0")
    assert {disk.name: disk.serial for disk in disks(machine.root)} == {
        "nvme0n1": "data0", "vda": "disk-1", "sda": "WD-12345", "sdc": "",
    }  # fmt: skip


def test_what_is_no_disk_is_left_out(machine: Machine) -> None:
    (machine.root / "sys/block/loop0").mkdir()
    machine.disk("sr0", "pci1/a")
    machine.disk("mmcblk0boot0", "pci1/b")
    machine.disk("nvme0c0n1", "pci1/c", hidden="1\n")
    machine.disk("sdd", "pci1/d", size=0)
    machine.disk("mmcblk0", "pci1/e")
    assert [disk.name for disk in disks(machine.root)] == ["mmcblk0"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("30 1 8:1 / /mnt/my\\040stick rw - vfat /dev/sdb1 rw", "/dev/sdb1 is mounted on /mnt/my stick"),
        ("30 1 8:0 / /mnt rw - vfat /dev/sdb rw", "/dev/sdb is mounted on /mnt"),
    ],
)
def test_a_mount_is_use(machine: Machine, line: str, words: str) -> None:
    machine.partition(machine.disk("sdb", "pci0"), "sdb1")
    assert disks(machine.root)[0].in_use == ()
    machine.mounts("27 1 254:0 / / rw - ext4 /dev/vda1 rw", line)
    assert disks(machine.root)[0].in_use == (words,)


def test_holders_and_what_is_mounted_from_them_is_use(machine: Machine) -> None:
    machine.partition(machine.disk("sdb", "pci0"), "sdb1", holder="dm-0")
    (machine.root / "sys/class/block/dm-0/holders").mkdir(parents=True)
    machine.mounts("30 1 253:0 / /srv rw - ext4 /dev/dm-0 rw")
    assert disks(machine.root)[0].in_use == ("/dev/sdb1 is held by dm-0", "/dev/dm-0 is mounted on /srv")


def test_swap_is_use(machine: Machine) -> None:
    machine.partition(machine.disk("sdb", "pci0"), "sdb1")
    write(machine.root, {"proc/swaps": "Filename Type Size Used Priority\n/dev/sdb1 partition 1 0 -2\n"})
    assert disks(machine.root)[0].in_use == ("/dev/sdb1 is swap space",)


def test_a_file_is_no_block_device_and_nothing_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(700))
    found = disk_facts(tmp_path / "image")
    assert (found.is_block, found.size) == (False, 700)
    with pytest.raises(DeviceError, match="No such file"):
        disk_facts(tmp_path / "absent")


def test_reads_and_writes_stay_in_the_window(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"." * 20)
    with BlockFile(path, write=True, offset=5, length=10) as device:
        assert device.size == 10
        device.write(0, b"start")
        device.write(9, b"e")
        device.flush()
        device.forget_cache()
        assert device.read(0, 10) == b"start....e"
        for offset, length in ((-1, 1), (9, 2), (11, 0)):
            with pytest.raises(ValueError, match="outside"):
                device.read(offset, length)
            with pytest.raises(ValueError, match="outside"):
                device.write(offset, bytes(length))
    assert path.read_bytes() == b".....start....e....."


def test_without_a_window_it_is_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"0123456789")
    with BlockFile(path, offset=4) as device:
        assert (device.size, device.read(0, 6)) == (6, b"456789")


def test_what_cannot_be_opened_is_our_error(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with pytest.raises(DeviceError, match="No such file"), BlockFile(path):
        pass
    path.write_bytes(bytes(10))
    with pytest.raises(DeviceError, match="expected 12"), BlockFile(path, offset=4, length=8):
        pass
    with pytest.raises(DeviceError, match="expected 11"), BlockFile(path, offset=11):
        pass


def test_a_device_that_shrank_or_refuses_is_our_error(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(10))
    with BlockFile(path) as device:
        with path.open("r+b") as file:
            file.truncate(4)
        with pytest.raises(DeviceFaultyError, match="ends at byte 4"):
            device.read(0, 10)
        with pytest.raises(DeviceFaultyError, match="writing"):
            device.write(0, b"x")


def test_use_outside_the_with_block_is_a_bug(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(10))
    with BlockFile(tmp_path / "image") as device:
        pass
    with pytest.raises(RuntimeError, match="with"):
        device.read(0, 0)


def test_what_is_pulled_stays_open_and_is_not_present(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(10))
    before = identity(path)
    with BlockFile(path) as device:
        assert device.present
        path.unlink()
        assert not device.present
        assert identity(path) == ""
        # While the old one is open, its number is not used again.
        path.write_bytes(bytes(10))
        assert identity(path) not in ("", before)
        device.reread_table()  # a file has none, and does not mind


def test_a_device_can_be_closed_before_the_block_ends(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(10))
    with BlockFile(tmp_path / "image") as device:
        device.close()
        with pytest.raises(RuntimeError, match="with"):
            device.read(0, 1)
