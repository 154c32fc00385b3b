"""A server's hardware as QEMU's words: the whole call once, then what each choice changes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from flashvisor.lab.machine import Accel, NicModel, Paths, ServerSpec, Watchdog, Wiring, qemu_argv, server_uuid

SPEC = ServerSpec(name="alpha", flash=Path("flash.img"))
PATHS = Paths(Path("/rack/alpha"))
WIRING = Wiring("239.255.1.2:20001", {443: 20443})

WHOLE = """
qemu-system-x86_64
-name alpha
-nodefaults -no-user-config
-machine q35,smm=on
-accel tcg,thread=multi
-cpu max
-smp 2
-m 3072M
-rtc base=utc
-uuid 00079685-0618-56b2-845c-011f3425c6d9
-smbios type=1,manufacturer=flashvisor,product=lab_server,serial=lab-alpha
-global driver=cfi.pflash01,property=secure,value=on
-drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd
-drive if=pflash,unit=1,format=raw,file=/rack/alpha/vars.fd
-action watchdog=reset -global ICH9-LPC.noreboot=true -device i6300esb
-chardev socket,id=tpm,path=tpm.sock -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-tis,tpmdev=tpm0
-drive if=none,id=flash,format=raw,file=/rack/alpha/flash.img
-device qemu-xhci,id=usb
-device usb-storage,id=stick,bus=usb.0,drive=flash,removable=on,serial=lab-flash
-drive if=none,id=data0,format=raw,discard=unmap,file=/rack/alpha/data0.img
-device nvme,drive=data0,serial=lab-data0
-netdev user,id=uplink,hostfwd=tcp:127.0.0.1:20443-:443
-device virtio-net-pci,netdev=uplink,mac=52:54:00:a9:35:c9,romfile=
-netdev socket,id=switch,mcast=239.255.1.2:20001,localaddr=127.0.0.1
-device e1000e,netdev=switch,mac=52:54:00:3c:67:40,romfile=
-vga std
-display none
-chardev socket,id=serial,path=serial.sock,server=on,wait=off,logfile=/rack/alpha/serial.log
-serial chardev:serial
-chardev socket,id=monitor,path=qmp.sock,server=on,wait=off
-mon chardev=monitor,mode=control
-msg timestamp=on
-d cpu_reset -D /rack/alpha/qemu.log
-pidfile /rack/alpha/qemu.pid
-daemonize
"""


def call(spec: ServerSpec = SPEC, *, wiring: Wiring = WIRING, accel: Accel = Accel.TCG) -> list[str]:
    return qemu_argv(spec, PATHS, wiring, accel)


def after(argv: list[str], option: str) -> list[str]:
    """All values of an option."""
    return [value for word, value in itertools.pairwise(argv) if word == option]


def test_the_whole_call() -> None:
    assert [word.replace(" ", "_") for word in call()] == WHOLE.split()


def test_no_device_has_a_bootindex_because_ovmf_would_rewrite_boot_order() -> None:
    assert not [word for word in call() if "bootindex" in word]


@pytest.mark.parametrize(
    ("watchdog", "device", "strap"), [(Watchdog.I6300ESB, True, "true"), (Watchdog.ITCO, False, "false")]
)
def test_one_watchdog_and_only_one_can_reset(watchdog: Watchdog, device: bool, strap: str) -> None:
    argv = call(replace(SPEC, watchdog=watchdog))
    assert ("i6300esb" in argv) == device
    assert f"ICH9-LPC.noreboot={strap}" in argv


def test_without_tpm_nothing_of_it_is_left() -> None:
    assert not [word for word in call(replace(SPEC, tpm=False)) if "tpm" in word]


def test_each_data_disk_has_its_serial_and_file() -> None:
    argv = call(replace(SPEC, data_disks=(1 << 30, 2 << 30)))
    assert [word for word in argv if word.startswith("nvme")] == [
        "nvme,drive=data0,serial=lab-data0",
        "nvme,drive=data1,serial=lab-data1",
    ]


def test_every_forward_is_wired_on_the_loopback_interface_only() -> None:
    uplink = after(call(wiring=Wiring("239.255.1.2:20001", {443: 20443, 22: 20022})), "-netdev")[0]
    assert uplink == "user,id=uplink,hostfwd=tcp:127.0.0.1:20443-:443,hostfwd=tcp:127.0.0.1:20022-:22"


def test_cards_are_chosen_and_no_two_share_an_address() -> None:
    spec = replace(SPEC, uplink_nic=NicModel.E1000E, switch_nic=NicModel.VMXNET3)
    devices = [word for word in call(spec) + call(replace(spec, name="beta")) if "netdev=" in word]
    assert [device.partition(",")[0] for device in devices] == ["e1000e", "vmxnet3"] * 2
    macs = {device.partition("mac=")[2].partition(",")[0] for device in devices}
    assert len(macs) == 4


def test_kvm_is_taken_when_asked_for() -> None:
    assert after(call(accel=Accel.KVM), "-accel") == ["kvm"]


def test_a_comma_in_a_path_stays_in_the_path() -> None:
    argv = qemu_argv(SPEC, Paths(Path("/rack,1/alpha")), WIRING, Accel.TCG)
    assert "if=none,id=flash,format=raw,file=/rack,,1/alpha/flash.img" in argv


def test_a_write_log_lies_between_the_device_and_its_file() -> None:
    plain, drives = after(call(), "-drive"), after(call(replace(SPEC, write_log=True)), "-drive")
    assert [drive for drive in drives if drive not in plain] == [
        "if=none,id=flash,driver=blklogwrites,file.driver=raw,file.file.driver=file,"
        "file.file.filename=/rack/alpha/flash.img,log.driver=file,log.filename=/rack/alpha/flash.writes,"
        "log.cache.no-flush=on,log-append=on,log-super-update-interval=1"
    ]
    assert [drive for drive in plain if drive not in drives] == [
        "if=none,id=flash,format=raw,file=/rack/alpha/flash.img"
    ]


def test_servers_have_different_uuids_and_each_the_same_always() -> None:
    assert server_uuid("alpha") == server_uuid("alpha") != server_uuid("beta")
