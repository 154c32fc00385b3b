"""What a virtual server consists of, and QEMU's call for it. Pure.

Owns the hardware: q35 with SMM, UEFI firmware with Secure Boot in Setup Mode, TPM, watchdog, a removable USB flash
device, NVMe data disks, two network cards, serial console, screen. Owns no process and no file::

    spec = ServerSpec(name="alpha", flash=Path("build/kvm/flash.img"))
    qemu_argv(spec, Paths(directory), Wiring(switch="230.1.2.3:20000", forwards={443: 20443}), Accel.TCG)

Sources: qemu-system-x86_64(1); QEMU's docs/specs/tpm; OVMF's README for the secure flash. The call works for QEMU 7.2
(Debian 12) and 10.0 (Debian 13).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.host import qemu_system, swtpm
from flashvisor.host.files import GIB, MIB
from flashvisor.model.names import derive_mac

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRMWARE_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")  # with SMM: only it guards its variables itself
FIRMWARE_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")  # no keys: Setup Mode, the owner's to fill
FLASH_SERIAL = "lab-flash"
FLASH_ID = "stick"  # QEMU's name for the flash device
FLASH_BUS = "usb.0"
DATA_SERIAL = "lab-data"  # and the disk's number
SERVER_FILE = "server.json"
SERIAL_SOCKET = "serial.sock"
UPLINK = "uplink"
SWITCH = "switch"
API_PORT = 443
SERVER_NAMESPACE = uuid.UUID("0f4f7ad1-6b3b-5b0e-8c55-5d1f2b0c8a37")  # any fixed UUID; never change it


class Accel(StrEnum):
    """What carries out the server's instructions."""

    TCG = "tcg"
    KVM = "kvm"


class Watchdog(StrEnum):
    """The watchdog timer that resets a server which hangs."""

    I6300ESB = "i6300esb"
    ITCO = "itco"


class NicModel(StrEnum):
    """QEMU's names of network cards whose drivers the image carries."""

    VIRTIO = "virtio-net-pci"
    E1000E = "e1000e"
    VMXNET3 = "vmxnet3"


@dataclass(frozen=True)
class ServerSpec:
    """A virtual server as ordered. Sizes in bytes.

    Args:
        name: Of the server; also the name of its directory.
        flash: The image that the flash device is a copy of.
        cpus: Processors.
        memory: RAM.
        data_disks: Size of each NVMe data disk; their serials are lab-data0, lab-data1, …
        tpm: Whether it has a TPM 2.0.
        watchdog: Which watchdog timer it has.
        firmware_vars: What its UEFI variables are a copy of.
        cpu_model: QEMU's name. `max` has SVM with nested paging under emulation too; Xen needs `Opteron_G3,+svm,+npt`.
        accel: What carries out its instructions; None: KVM where a probe guest boots on it, else emulation.
        uplink_nic: The card on the management network (DHCP, out by NAT).
        switch_nic: The card on the rack's switch.
        qemu: The program that is the server (image/labqemu.py); None: this machine's own.
        system_disk: What the first data disk is a copy of, at most as large as it; None: it is blank.
        write_log: Whether every write to the flash is kept, in order, with the flushes between them (writelog.py).
    """

    name: str
    flash: Path
    cpus: int = 2
    memory: int = 3 * GIB
    data_disks: tuple[int, ...] = (16 * GIB,)
    tpm: bool = True
    watchdog: Watchdog = Watchdog.I6300ESB
    firmware_vars: Path = FIRMWARE_VARS
    cpu_model: str = "max"
    accel: Accel | None = None
    uplink_nic: NicModel = NicModel.VIRTIO
    switch_nic: NicModel = NicModel.E1000E
    qemu: Path | None = None
    system_disk: Path | None = None
    write_log: bool = False


@dataclass(frozen=True)
class Paths:
    """The files of one server, all in its own directory."""

    directory: Path

    @property
    def state(self) -> Path:
        """What the lab knows of the server."""
        return self.directory / SERVER_FILE

    @property
    def flash(self) -> Path:
        """The flash device."""
        return self.directory / "flash.img"

    @property
    def write_log(self) -> Path:
        """What was written to the flash since it was put in, over all power-ons."""
        return self.directory / "flash.writes"

    @property
    def pulled_flash(self) -> Path:
        """The flash device that was pulled last."""
        return self.directory / "flash.pulled.img"

    @property
    def firmware_vars(self) -> Path:
        """The UEFI variables."""
        return self.directory / "vars.fd"

    @property
    def serial_log(self) -> Path:
        """What the serial console said since power-on."""
        return self.directory / "serial.log"

    @property
    def moments(self) -> Path:
        """When the lab saw which boot stage."""
        return self.directory / "moments.json"

    def data_disk(self, number: int) -> Path:
        """Data disk `number`, from 0."""
        return self.directory / f"data{number}.img"


@dataclass(frozen=True)
class Wiring:
    """How a server is connected: the switch's multicast group and port, and TCP ports of 127.0.0.1 by server's port."""

    switch: str
    forwards: Mapping[int, int] = field(default_factory=dict)


def qemu_argv(spec: ServerSpec, paths: Paths, wiring: Wiring, accel: Accel) -> list[str]:
    """Returns QEMU's call for a server. Run it with the server's directory as cwd: names of sockets are relative."""
    return [
        str(spec.qemu or qemu_system.PROGRAM),
        "-name", spec.name,
        # Only what stands below is in the server: no defaults, no configuration of the machine's user.
        "-nodefaults", "-no-user-config",
        *_board(spec, accel),
        *_firmware(paths),
        *_watchdog(spec.watchdog),
        *(_tpm() if spec.tpm else []),
        *_flash(spec, paths),
        *_data_disks(spec, paths),
        *_network(spec, wiring),
        *_consoles(paths),
        *_control(paths),
    ]  # fmt: skip


def server_uuid(name: str) -> uuid.UUID:
    """Returns the system UUID (SMBIOS type 1) of a server."""
    return uuid.uuid5(SERVER_NAMESPACE, name)


def _board(spec: ServerSpec, accel: Accel) -> list[str]:
    return [
        "-machine", "q35,smm=on",
        "-accel", "tcg,thread=multi" if accel is Accel.TCG else "kvm",
        "-cpu", spec.cpu_model,
        "-smp", str(spec.cpus),
        "-m", f"{spec.memory // MIB}M",
        "-rtc", "base=utc",
        "-uuid", str(server_uuid(spec.name)),
        "-smbios", f"type=1,manufacturer=flashvisor,product=lab server,serial=lab-{spec.name}",
    ]  # fmt: skip


def _firmware(paths: Paths) -> list[str]:
    return [
        # Variables can be written from SMM only: without this, any kernel could switch Secure Boot off.
        "-global", "driver=cfi.pflash01,property=secure,value=on",
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_value(FIRMWARE_CODE)}",
        "-drive", f"if=pflash,unit=1,format=raw,file={_value(paths.firmware_vars)}",
    ]  # fmt: skip


def _watchdog(watchdog: Watchdog) -> list[str]:
    # The chipset's own timer (iTCO) is always there. Its no-reboot strap tells the driver to leave it alone.
    if watchdog is Watchdog.ITCO:
        return ["-action", "watchdog=reset", "-global", "ICH9-LPC.noreboot=false"]
    return ["-action", "watchdog=reset", "-global", "ICH9-LPC.noreboot=true", "-device", "i6300esb"]


def _tpm() -> list[str]:
    return [
        "-chardev", f"socket,id=tpm,path={swtpm.SOCKET}",
        "-tpmdev", "emulator,id=tpm0,chardev=tpm",
        "-device", "tpm-tis,tpmdev=tpm0",
    ]  # fmt: skip


def logged(medium: Path, log: Path) -> str:
    """Returns QEMU's options of a raw medium whose writes are logged. Both files exist; the log may be empty.

    Source: QEMU's qapi/block-core.json, BlockdevOptionsBlklogwrites.
    """
    return (
        f"driver=blklogwrites,file.driver=raw,file.file.driver=file,file.file.filename={_value(medium)},"
        # The log's count of entries is written with each entry: a plug that is pulled loses none of them. Our own
        # machine keeps its power, so that nothing of the log needs to be flushed.
        f"log.driver=file,log.filename={_value(log)},log.cache.no-flush=on,log-append=on,log-super-update-interval=1"
    )


def _flash(spec: ServerSpec, paths: Paths) -> list[str]:
    plain = f"format=raw,file={_value(paths.flash)}"
    return [
        "-drive", f"if=none,id=flash,{logged(paths.flash, paths.write_log) if spec.write_log else plain}",
        "-device", "qemu-xhci,id=usb",
        # No bootindex: with one, OVMF rewrites BootOrder at every start, and try-then-commit lives in BootOrder.
        "-device", f"usb-storage,id={FLASH_ID},bus={FLASH_BUS},drive=flash,removable=on,serial={FLASH_SERIAL}",
    ]  # fmt: skip


def _data_disks(spec: ServerSpec, paths: Paths) -> list[str]:
    words = []
    for number in range(len(spec.data_disks)):
        words += [
            "-drive", f"if=none,id=data{number},format=raw,discard=unmap,file={_value(paths.data_disk(number))}",
            "-device", f"nvme,drive=data{number},serial={DATA_SERIAL}{number}",
        ]  # fmt: skip
    return words


def _network(spec: ServerSpec, wiring: Wiring) -> list[str]:
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{ours}-:{theirs}" for theirs, ours in wiring.forwards.items())
    # An empty romfile: a server that finds nothing to start must not go on to start from the network.
    return [
        "-netdev", f"user,id={UPLINK}{forwards}",
        "-device", f"{spec.uplink_nic},netdev={UPLINK},mac={derive_mac('lab', spec.name, 0)},romfile=",
        "-netdev", f"socket,id={SWITCH},mcast={wiring.switch},localaddr=127.0.0.1",
        "-device", f"{spec.switch_nic},netdev={SWITCH},mac={derive_mac('lab', spec.name, 1)},romfile=",
    ]  # fmt: skip


def _consoles(paths: Paths) -> list[str]:
    return [
        "-vga", "std",
        "-display", "none",
        "-chardev", f"socket,id=serial,path={SERIAL_SOCKET},server=on,wait=off,logfile={_value(paths.serial_log)}",
        "-serial", "chardev:serial",
    ]  # fmt: skip


def _control(paths: Paths) -> list[str]:
    return [
        "-chardev", f"socket,id=monitor,path={qemu_system.MONITOR},server=on,wait=off",
        "-mon", "chardev=monitor,mode=control",
        "-msg", "timestamp=on",
        # What the processors held when they were reset: a triple fault leaves no other trace.
        "-d", "cpu_reset", "-D", str(paths.directory / qemu_system.LOG_FILE),
        "-pidfile", str(paths.directory / qemu_system.PID_FILE),
        "-daemonize",
    ]  # fmt: skip


def _value(path: Path) -> str:
    # A comma ends a value in QEMU's options; two of them are one that does not.
    return str(path).replace(",", ",,")
