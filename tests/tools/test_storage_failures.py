"""A real file system that fills up or meets an error, and a real QEMU on it that is paused and goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import CommandFailedError
from flashvisor.host import processes, qemu_img, qemu_system
from flashvisor.host.clock import ticks
from flashvisor.host.qemu_system import LOG_FILE, MONITOR, PID_FILE, PROGRAM, Qmp
from flashvisor.host.run import run
from flashvisor.model.storagestate import StorageState
from flashvisor.node.machine import RealMachine
from flashvisor.node.storagehealth import judge

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.tools

MIB = 1 << 20  # bytes
LIMIT = 60.0  # seconds; emulated, on a loaded machine
SIZE = 64 * MIB  # bytes of the storage
WRITES = 512  # of the guest, each to a cluster of its own: 32 MiB in all
ROOM = 12 * MIB  # bytes left free for it at first

# A boot sector that writes 32 KiB into each of 512 clusters by INT 13h, and says on the serial port how each ended:
#     xor ax,ax; mov ds,ax; mov [drive],dl
# n:  mov si,packet; mov dl,[drive]; mov ax,4300h; int 13h
#     mov al,'.'; jnc +2; mov al,'E'; mov dx,3f8h; out dx,al
#     add dword [lba],128; cmp dword [lba],512*128; jbe n
#     mov al,'!'; out dx,al
# h:  hlt; jmp h
# drive: db 0      packet: db 16,0; dw 64; dw 0,1000h; lba: dq 128
WRITER = bytes.fromhex(
    "31c08ed88816387cbe397c8a16387cb80043cd13b02e7302b045baf803ee668106417c80000000"
    "66813e417c0000010076d6b021eef4ebfd00100040000000001080"
).ljust(510, b"\0") + bytes.fromhex("55aa")


@pytest.fixture
def machine() -> RealMachine:
    return RealMachine(Path("/nonexistent"))


@pytest.fixture
def device(tmp_path: Path, machine: RealMachine) -> Iterator[Path]:
    """A data disk, formatted as a server does it."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(SIZE)
    device = Path(run(["losetup", "--find", "--show", disk]).stdout.strip())
    try:
        machine.format(device, "fv-main")
        yield device
    finally:
        run(["losetup", "--detach", device])


@pytest.fixture
def storage(tmp_path: Path, machine: RealMachine, device: Path) -> Iterator[Path]:
    place = tmp_path / "storage"
    machine.mount(device, place)
    try:
        yield place
    finally:
        machine.unmount(place, lazy=True)


def state(machine: RealMachine, place: Path) -> StorageState:
    return judge(None, machine.volume(place), 0.0).state


def test_a_storage_that_met_an_error_is_read_only_until_it_is_checked(
    machine: RealMachine, device: Path, storage: Path
) -> None:
    assert state(machine, storage) is StorageState.OK
    Path(f"/sys/fs/ext4/{device.name}/trigger_fs_error").write_text("a test")
    with pytest.raises(OSError, match=r"Read-only file system|Input/output error"):
        (storage / "file").write_bytes(b"x")
    assert state(machine, storage) is StorageState.READ_ONLY
    machine.unmount(storage)
    assert state(machine, storage) is StorageState.GONE
    machine.mount(device, storage)
    assert state(machine, storage) is StorageState.OK
    (storage / "file").write_bytes(b"x")


def test_a_lost_disks_mount_can_be_taken_away_while_a_file_is_open(machine: RealMachine, storage: Path) -> None:
    with (storage / "file").open("wb"):
        with pytest.raises(CommandFailedError, match="umount"):
            machine.unmount(storage)
        machine.unmount(storage, lazy=True)
    assert machine.volume(storage) is None


def boot(disk: Path, directory: Path) -> processes.ProcessMark:
    """Starts QEMU on a disk with the settings that domain XML gives it, and the serial port in a file."""
    file = f"driver=file,node-name=file,filename={disk},cache.direct=on,aio=native"
    argv = [
        PROGRAM, "-no-user-config", "-nodefaults", "-display", "none", "-machine", "q35,accel=tcg", "-m", "32",
        "-blockdev", file, "-blockdev", "driver=qcow2,node-name=disk,file=file,discard=unmap,cache.direct=on",
        "-device", "virtio-blk-pci,drive=disk,bootindex=0,werror=stop,rerror=stop",
        "-serial", f"file:{directory / 'serial'}",
        "-qmp", f"unix:{MONITOR},server=on,wait=off",
        "-D", str(directory / LOG_FILE), "-pidfile", str(directory / PID_FILE), "-daemonize",
    ]  # fmt: skip
    return qemu_system.start(argv, directory)


def test_a_guest_on_a_full_storage_is_paused_notices_nothing_and_goes_on(
    tmp_path: Path, machine: RealMachine, storage: Path
) -> None:
    raw, disk = tmp_path / "raw", storage / "disk.qcow2"
    raw.write_bytes(WRITER.ljust(MIB, b"\0"))
    run(["qemu-img", "convert", "-O", "qcow2", raw, disk])
    qemu_img.grow(disk, size=128 * MIB)
    ballast = storage / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(storage).free - ROOM))
    serial = tmp_path / "serial"
    guest = boot(disk, tmp_path)
    try:
        with Qmp.connect(tmp_path) as qmp:
            qmp.wait_event("BLOCK_IO_ERROR", limit=LIMIT)
            qmp.wait_event("STOP", limit=LIMIT)
            assert qmp.execute("query-status")["status"] == "io-error"
            (block,) = [each for each in qmp.execute("query-block") if each.get("inserted")]
            assert block["io-status"] == "nospace"
            assert state(machine, storage) is StorageState.FULL
            so_far = serial.read_text()
            assert 0 < len(so_far) < WRITES
            ballast.unlink()
            assert state(machine, storage) is StorageState.OK
            qmp.execute("cont")
            assert any(serial.read_text().endswith("!") for _ in ticks(0.1, LIMIT))
            assert qmp.execute("query-status")["status"] == "running"
    finally:
        processes.stop(guest, grace=0)
    # Not one write was told to have failed, and none was told twice.
    assert serial.read_text() == "." * WRITES + "!"
