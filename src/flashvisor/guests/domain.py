"""A guest as libvirt's domain XML. Pure: everything is resolved before, nothing is looked up here.

Owns the virtual hardware that guests see. Only devices that our QEMU has are used (image/recipe/qemu-devices.mak).
Does not own qemu.conf (qemuconf.py) or who starts the domain (libvirt_driver.py)::

    spec = DomainSpec(name="hello", uuid=guest_uuid("alpha", "hello"), memory=64 << 20, cpus=1,
                      boot=DirectKernel("/k/linux", "/k/initrd", "console=ttyS0"),
                      console_socket="/run/flashvisor/console/hello.sock")
    connection.createXML(domain_xml(spec))

Source: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from uuid import UUID

EMULATOR = "/usr/bin/qemu-system-x86_64"
OVMF_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"  # Debian's ovmf, without Secure Boot: needs no SMM
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
KIB = 1 << 10  # bytes
SERIAL_LIMIT = 20  # characters: VIRTIO_BLK_ID_BYTES (virtio 1.2, 5.2.6)
SEED_SERIAL = "cidata"


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
    """A network card on virtio: the bridge it is on, its MAC address, and the name of the server's end."""

    bridge: str
    mac: str
    target: str


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


def domain_xml(spec: DomainSpec) -> str:
    """Returns the domain XML of a guest, byte for byte the same for the same spec."""
    domain = ET.Element("domain", type="kvm")
    _text(domain, "name", spec.name)
    _text(domain, "uuid", str(spec.uuid))
    if spec.title:
        _text(domain, "title", spec.title)
    _text(domain, "memory", str(-(-spec.memory // KIB)), unit="KiB")
    _text(domain, "vcpu", str(spec.cpus), placement="static")
    _boot(domain, spec.boot)
    _features(domain)
    _cpu(domain, spec.nested)
    _clock(domain)
    # The agent restarts guests itself (supervise.py): whatever ends a domain ends it for libvirt, except a reboot.
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    power = ET.SubElement(domain, "pm")
    ET.SubElement(power, "suspend-to-mem", enabled="no")
    ET.SubElement(power, "suspend-to-disk", enabled="no")
    _devices(domain, spec)
    ET.SubElement(domain, "seclabel", type="dynamic", model="dac", relabel="yes")
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _boot(domain: ET.Element, boot: DirectKernel | Bios | Uefi) -> None:
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="q35")
    match boot:
        case DirectKernel():
            _text(system, "kernel", boot.kernel)
            if boot.initrd:
                _text(system, "initrd", boot.initrd)
            _text(system, "cmdline", boot.cmdline)
        case Uefi():
            _text(system, "loader", boot.code, readonly="yes", secure="no", type="pflash", format="raw")
            nvram = {"template": boot.template, "templateFormat": "raw", "format": "raw"}
            _text(system, "nvram", boot.nvram, **nvram)
        case Bios():
            pass


def _features(domain: ET.Element) -> None:
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    # Fewer things to attack, and SMM is slow under nested virtualisation. Our OVMF does not need it.
    ET.SubElement(features, "smm", state="off")


def _cpu(domain: ET.Element, nested: bool) -> None:
    cpu = ET.SubElement(domain, "cpu", mode="host-passthrough", check="none", migratable="on")
    if not nested:
        # KVM's nesting code is a large part of what a guest can reach of it. Off for both makers of CPUs.
        ET.SubElement(cpu, "feature", policy="disable", name="svm")
        ET.SubElement(cpu, "feature", policy="disable", name="vmx")


def _clock(domain: ET.Element) -> None:
    clock = ET.SubElement(domain, "clock", offset="utc")
    ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
    ET.SubElement(clock, "timer", name="hpet", present="no")


def _devices(domain: ET.Element, spec: DomainSpec) -> None:
    devices = ET.SubElement(domain, "devices")
    _text(devices, "emulator", spec.emulator)
    disks = spec.disks
    if spec.seed:
        disks += (Disk(spec.seed, DiskFormat.RAW, readonly=True, serial=SEED_SERIAL),)
    firmware = not isinstance(spec.boot, DirectKernel)
    for index, disk in enumerate(disks):
        _disk(devices, disk, index, boot=firmware and index == 0 and index < len(spec.disks))
    for card in spec.cards:
        _card(devices, card)
    # Without this, libvirt adds a USB controller to every q35 machine.
    ET.SubElement(devices, "controller", type="usb", model="none")
    _serial(devices, spec)
    # iTCO is part of q35; i6300esb is conventional PCI and would need a bridge that our QEMU leaves out.
    ET.SubElement(devices, "watchdog", model="itco", action="reset")
    # Pages that the guest frees go back to the server, without anybody asking for them.
    ET.SubElement(devices, "memballoon", model="virtio", autodeflate="on", freePageReporting="on")
    rng = ET.SubElement(devices, "rng", model="virtio")
    ET.SubElement(rng, "backend", model="builtin")
    ET.SubElement(devices, "panic", model="isa")


def _disk(devices: ET.Element, disk: Disk, index: int, *, boot: bool) -> None:
    element = ET.SubElement(devices, "disk", type="file", device="disk")
    driver = {"name": "qemu", "type": disk.format.value}
    if not disk.readonly:
        # No second copy in the server's page cache; a guest's flush reaches the disk; freed blocks are given back.
        driver |= {"cache": "none", "io": "native", "discard": "unmap"}
    ET.SubElement(element, "driver", driver)
    ET.SubElement(element, "source", file=disk.path)
    ET.SubElement(element, "target", dev=f"vd{_letters(index)}", bus="virtio")
    if disk.readonly:
        ET.SubElement(element, "readonly")
    if disk.serial:
        _text(element, "serial", disk.serial[:SERIAL_LIMIT])
    if boot:
        ET.SubElement(element, "boot", order="1")


def _letters(index: int) -> str:
    """0 is a, 25 is z, 26 is aa: Linux's names of disks."""
    name = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        name = chr(ord("a") + digit) + name
    return name


def _card(devices: ET.Element, card: Card) -> None:
    element = ET.SubElement(devices, "interface", type="bridge")
    ET.SubElement(element, "mac", address=card.mac)
    ET.SubElement(element, "source", bridge=card.bridge)
    ET.SubElement(element, "target", dev=card.target)
    ET.SubElement(element, "model", type="virtio")
    ET.SubElement(element, "driver", name="vhost")
    # The image carries no option ROMs: guests do not start from the network.
    ET.SubElement(element, "rom", enabled="no")


def _serial(devices: ET.Element, spec: DomainSpec) -> None:
    serial = ET.SubElement(devices, "serial", type="unix")
    ET.SubElement(serial, "source", mode="bind", path=spec.console_socket)
    if spec.console_log:
        ET.SubElement(serial, "log", file=spec.console_log, append="off")
    target = ET.SubElement(serial, "target", type="isa-serial", port="0")
    ET.SubElement(target, "model", name="isa-serial")
