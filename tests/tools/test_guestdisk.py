"""The Debian guest: its disk made for real, started by UEFI under emulation, logged in to, also after a power cut."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import CommandFailedError, CommandTimeoutError, WaitTimeoutError
from flashvisor.guests.seed import SEED_LABEL, SeedCard, SeedGuest, seed_files
from flashvisor.host import clock, mtools, qemu_img
from flashvisor.host.files import GIB, MIB
from flashvisor.host.run import run
from flashvisor.image.guestdisk import DISK_SIZE, KERNEL_HOOK, debian_disk
from flashvisor.lab.machine import FIRMWARE_VARS
from flashvisor.model.site import CloudInit
from tools.guestbench import SERIAL, guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.tools

FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
GROWN = 3 * GIB  # bytes
LOGIN_LIMIT = 240.0  # seconds; about 25 on an idle machine
ATTEMPT = 30.0  # seconds for one try to log in
MAC = "52:54:00:00:00:01"  # guestbench's card
MARK = "flashvisor.probe"  # a word of the kernel's command line that nothing reads
HOST_KEY = "cat /etc/ssh/ssh_host_ed25519_key.pub"


@dataclass(frozen=True)
class Login:
    """Runs commands in the guest as its administrator."""

    key: Path
    port: int

    def run(self, command: str) -> str:
        return run(
            ["ssh", "-i", self.key, "-p", str(self.port), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "admin@127.0.0.1",
             command],
            timeout=ATTEMPT,
        ).stdout.strip()  # fmt: skip

    def wait(self) -> None:
        """Returns when the guest lets the administrator in."""
        for _ in clock.ticks(0.5, LOGIN_LIMIT):
            try:
                self.run("true")
            except (CommandFailedError, CommandTimeoutError):
                continue
            return
        raise WaitTimeoutError(f"nobody could log in within {LOGIN_LIMIT:.0f} s")


@pytest.fixture(scope="module")
def image() -> Path:
    return debian_disk(open_cache())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, image: Path) -> Path:
    """A directory with a guest's disk, seed and firmware variables, and the administrator's key."""
    directory = tmp_path_factory.mktemp("debian")
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "key"])
    wish = CloudInit(user="admin", ssh_keys=((directory / "key.pub").read_text().strip(),), hostname="probe")
    files = seed_files(SeedGuest("probe", UUID(int=7)), wish, (SeedCard(MAC),))
    mtools.make_fat(directory / "seed.img", size=MIB, label=SEED_LABEL, files=files)
    qemu_img.make_overlay(directory / "disk.qcow2", base=image, base_kind="qcow2", size=GROWN)
    (directory / "vars.fd").write_bytes(FIRMWARE_VARS.read_bytes())
    return directory


@contextmanager
def power_on(place: Path) -> Iterator[Login]:
    """Gives the guest, logged in to. Afterwards its power is cut."""
    hardware = [
        "-m", "512M", "-smp", "1",
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}",
        "-drive", f"if=pflash,unit=1,format=raw,file={place / 'vars.fd'}",
        "-drive", f"if=none,id=disk,format=qcow2,file={place / 'disk.qcow2'}",
        "-device", "virtio-blk-pci,drive=disk,bootindex=1",
        "-drive", f"if=none,id=seed,format=raw,readonly=on,file={place / 'seed.img'}",
        "-device", "virtio-blk-pci,drive=seed",
    ]  # fmt: skip
    with guest(place, hardware, forward=22) as port:
        login = Login(place / "key", port)
        login.wait()
        yield login


def test_the_image_is_one_file_of_the_promised_size(image: Path) -> None:
    info = qemu_img.info(image, kind="qcow2")
    assert info.virtual_size == DISK_SIZE
    assert info.leans_on() is None
    assert image.stat().st_size < 200 * MIB


def test_it_starts_lets_its_administrator_in_and_survives_a_power_cut(place: Path) -> None:
    with power_on(place) as login:
        first_boot_is_right(login, place / SERIAL)
        host_key = login.run(HOST_KEY)
        make_what_the_firmware_starts(login)
    with power_on(place) as login:
        assert login.run(HOST_KEY) == host_key
        assert MARK in login.run("cat /proc/cmdline").split()


def first_boot_is_right(login: Login, serial: Path) -> None:
    assert login.run("hostname") == "probe"
    assert login.run("sudo -n id -u") == "0"
    assert int(login.run("findmnt -nbo SIZE /")) > DISK_SIZE  # it took what the disk has grown by
    assert login.run("ls /etc/ssh/ssh_host_*_key") == "/etc/ssh/ssh_host_ed25519_key"
    assert login.run("systemctl --failed --quiet --plain --no-legend") == ""
    assert "passwordauthentication no" in login.run("sudo sshd -T")
    for _ in clock.ticks(0.5, LOGIN_LIMIT):
        if "probe login:" in serial.read_text(errors="replace"):
            return
    pytest.fail("no login on the serial console")


def make_what_the_firmware_starts(login: Login) -> None:
    """As apt does after it has installed a kernel. The power is cut right after it, so it has to be on the disk."""
    login.run(f"sudo sed -i 's/$/ {MARK}/' /etc/kernel/cmdline")
    assert login.run(f"sudo {KERNEL_HOOK} $(uname -r) && sudo ls /boot/efi/EFI/BOOT") == "BOOTX64.EFI"
