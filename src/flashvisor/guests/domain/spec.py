"""A guest with everything resolved: what its XML is made from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

EMULATOR = "/usr/bin/qemu-system-x86_64"
OVMF_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"  # Debian's ovmf, without Secure Boot: needs no SMM
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"


class DiskFormat(StrEnum):
    """What a disk's file holds."""

    QCOW2 = "qcow2"
    RAW = "raw"


@dataclass(frozen=True)
class Disk:
    """A disk on virtio. The first one is the one that firmware starts from."""

    path: str
    format: DiskFormat
    readonly: bool = False
    serial: str = ""


@dataclass(frozen=True)
class Card:
    """A network card on virtio.

    Args:
        bridge: The bridge it is on.
        mac: Its MAC address.
        target: The name of the server's end.
        vlan: The bridge's VLAN that it gets without a tag; None for the bridge's own.
        trunk: VLANs that it gets with their tags.
    """

    bridge: str
    mac: str
    target: str
    vlan: int | None = None
    trunk: tuple[int, ...] = ()


@dataclass(frozen=True)
class DirectKernel:
    """A kernel that QEMU loads itself (appliances). Paths; `initrd` may be empty."""

    kernel: str
    initrd: str
    cmdline: str


@dataclass(frozen=True)
class Bios:
    """SeaBIOS, which QEMU finds in its own data directory."""


@dataclass(frozen=True)
class Uefi:
    """OVMF: the code is shared and read-only, the variables are the guest's own, copied from the template at first."""

    nvram: str
    code: str = OVMF_CODE
    template: str = OVMF_VARS


@dataclass(frozen=True, kw_only=True)
class DomainSpec:
    """A guest with everything resolved.

    Args:
        name: The domain's name.
        uuid: The domain's UUID (model/names.py).
        memory: Bytes; libvirt counts KiB, a part of one is rounded up.
        cpus: Virtual CPUs.
        boot: What starts it.
        console_socket: The Unix socket at which the serial port listens; QEMU takes one client at a time.
        title: For people.
        disks: In the order of their names in the guest: vda, vdb, ….
        seed: A read-only raw disk for cloud-init, after the others; "" for none.
        cards: Network cards.
        console_log: A file that gets a copy of the serial port's output since the start; "" for none. Neither QEMU
            nor libvirt without virtlogd limits its size, so it belongs on a small tmpfs of its own: when that is
            full, QEMU goes on without it (chardev/char.c, qemu_chr_write_log).
        emulator: QEMU's path.
        nested: Lets the guest be a hypervisor itself. Off: it sees no SVM or VMX.
        keep: When its kernel panics, its memory stays as it is, and its CPUs stand still.
        agent: It has a channel to QEMU's guest agent.
    """

    name: str
    uuid: UUID
    memory: int
    cpus: int
    boot: DirectKernel | Bios | Uefi
    console_socket: str
    title: str = ""
    disks: tuple[Disk, ...] = ()
    seed: str = ""
    cards: tuple[Card, ...] = ()
    console_log: str = ""
    emulator: str = EMULATOR
    nested: bool = False
    keep: bool = False
    agent: bool = False
