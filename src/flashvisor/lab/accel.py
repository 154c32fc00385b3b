"""Whether KVM really runs guests here. That /dev/kvm opens proves nothing, so a probe guest is booted on it.

The probe is one boot sector: the firmware starts it, it says `K` on the debug port, and resets the machine, which
ends QEMU. Whatever else happens within LIMIT seconds means no, and the lab emulates::

    choose(rack_directory, wish=None)     # Accel.KVM or Accel.TCG; asks the probe once per boot of this machine
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from flashvisor.errors import CommandFailedError, CommandTimeoutError
from flashvisor.host import processes, qemu_system
from flashvisor.host.files import write_atomic
from flashvisor.host.run import run
from flashvisor.lab.machine import Accel

LIMIT = 10.0  # seconds; where KVM works the probe ends within one
ANSWER = b"K"
SECTOR = 512  # bytes
DISK = 1 << 20  # bytes; SeaBIOS starts nothing from a disk of one sector
CODE = bytes.fromhex(
    "b0 4b"  # mov al, 'K'
    "e6 e9"  # out 0xe9, al     QEMU's debug port
    "b0 fe"  # mov al, 0xfe     the keyboard controller's command that pulls the reset line
    "e6 64"  # out 0x64, al
    "f4"  # hlt
    "eb fd"  # jmp to hlt
)
BOOT_SECTOR = CODE.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


class _Cached(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    boot: str
    qemu: tuple[int, int]
    boots: bool


def choose(directory: Path, wish: Accel | None) -> Accel:
    """Returns the accelerator for a server: the one wished for, else KVM where it boots a guest, else emulation.

    Args:
        directory: Keeps the probe's answer until this machine or its QEMU changes.
        wish: None leaves the choice to the probe.

    Raises:
        ToolMissingError: QEMU is not installed.
    """
    if wish is not None:
        return wish
    return Accel.KVM if kvm_boots(directory) else Accel.TCG


def kvm_boots(directory: Path) -> bool:
    """Tells whether a guest boots on this machine's KVM; the answer of this boot is kept in `directory`.

    Raises:
        ToolMissingError: QEMU is not installed.
    """
    cache = directory / "accel.json"
    boot, qemu = processes.boot_id(), qemu_system.version()
    known = _read(cache)
    if known is not None and (known.boot, known.qemu) == (boot, qemu):
        return known.boots
    boots = probe(Accel.KVM)
    write_atomic(cache, msgspec.json.encode(_Cached(boot=boot, qemu=qemu, boots=boots)))
    return boots


def is_known(directory: Path) -> bool:
    """Tells whether `kvm_boots` answers at once."""
    known = _read(directory / "accel.json")
    return known is not None and known.boot == processes.boot_id()


def probe(accel: Accel, sector: bytes = BOOT_SECTOR) -> bool:
    """Boots a sector of 512 bytes, and tells whether it said what it should within LIMIT seconds."""
    with tempfile.TemporaryDirectory(prefix="flashvisor-probe-") as name:
        disk, said = Path(name) / "disk.img", Path(name) / "said"
        disk.write_bytes(sector.ljust(DISK, b"\0"))
        try:
            run(probe_argv(accel, disk, said), cwd=disk.parent, timeout=LIMIT)
        except (CommandFailedError, CommandTimeoutError):
            return False
        return said.read_bytes() == ANSWER


def probe_argv(accel: Accel, disk: Path, said: Path) -> list[str]:
    """Returns QEMU's call for the probe: the lab's own kind of machine, as small as can be. Pure."""
    return [
        qemu_system.PROGRAM, "-nodefaults", "-no-user-config",
        "-machine", "q35,smm=on", "-accel", accel, "-cpu", "max", "-m", "64M", "-display", "none",
        "-no-reboot",  # a reset ends QEMU, with status 0
        "-debugcon", f"file:{said}",
        "-drive", f"if=ide,format=raw,file={disk}",
    ]  # fmt: skip


def _read(cache: Path) -> _Cached | None:
    # A damaged or old file only costs another probe.
    try:
        return msgspec.json.decode(cache.read_bytes(), type=_Cached)
    except (OSError, msgspec.MsgspecError):
        return None
