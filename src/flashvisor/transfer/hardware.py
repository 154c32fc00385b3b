"""From a machine in an OVF descriptor to a guest of ours, and words for all that has no counterpart. Pure.

Owns which virtual hardware of VMware, VirtualBox and XenServer becomes what::

    guest = draft_guest(envelope.systems[0], envelope.disks, name="web")
    guest.notes       # ("sound card (ensoniq1371): left out",)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import OvfError
from flashvisor.model.size import UNITS
from flashvisor.transfer.draft import DiskDraft, GuestDraft, NicDraft
from flashvisor.transfer.ovf import parse_bytes, parse_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from flashvisor.transfer.ovf import Disk, Item, System

# CIM_ResourceAllocationSettingData.ResourceType
CPU, MEMORY, IDE, SCSI, NIC, OTHER_STORAGE = 3, 4, 5, 6, 10, 20
CONTROLLERS = (IDE, SCSI, OTHER_STORAGE)
DISK_KINDS = (17, 19, 22)  # disk drive; storage extent (XenServer); what newer XenServer clients write
LEFT_OUT = {
    7: "Fibre Channel adapter", 8: "iSCSI adapter", 9: "InfiniBand adapter", 11: "network card", 12: "I/O slot",
    14: "floppy drive", 15: "CD drive", 16: "DVD drive", 18: "tape drive", 21: "serial port",
    22: "parallel port", 23: "USB controller", 25: "FireWire controller", 35: "sound card",
}  # fmt: skip
UNREMARKED = (CPU, MEMORY, NIC, 13, 24, *CONTROLLERS)  # keyboard and screen: every guest gets them
QUIET_SUBTYPES = ("vmware.vmci", "vmware.cdrom.iso.none")
MAX_CPUS = 255
MIN_MEMORY, MAX_MEMORY = 16 * UNITS["MiB"], 1 << 50  # bytes
DISK_REFERENCE = re.compile(r"(?:ovf:)?/?disk/(.+)")  # VirtualBox leaves the scheme out
MAC = re.compile(r"[0-9a-f]{12}")
MULTICAST = 1  # of a MAC's first byte
CARDS = {
    "e1000": "e1000", "82540em": "e1000", "82543gc": "e1000", "82545em": "e1000", "e1000e": "e1000e",
    "vmxnet3": "vmxnet3", "virtio": "virtio", "virtio-net": "virtio", "virtionet": "virtio",
}  # fmt: skip
# Controllers that we have too. VMware's names, then VirtualBox's.
BUSES = {
    "virtualscsi": "pvscsi", "vmware.nvme.controller": "nvme", "vmware.sata.ahci": "sata",
    "virtioscsi": "scsi", "virtio-scsi": "scsi", "nvme": "nvme", "ahci": "sata",
}  # fmt: skip
SCSI_NAMES = {"lsilogic": "LSI Logic", "lsilogicsas": "LSI Logic SAS", "buslogic": "BusLogic", "": "SCSI"}
WINDOWS = re.compile(r"\bwin", re.IGNORECASE)
LINUX = re.compile(
    r"linux|debian|ubuntu|red ?hat|rhel|centos|fedora|suse|sles|rocky|alma|oracle|photon|coreos|\barch|gentoo|amazon",
    re.IGNORECASE,
)
SECTIONS = {
    "ProductSection": "settings for the guest (vApp properties)",
    "EulaSection": "a license that its vendor wants accepted",
    "DeploymentOptionSection": "other deployment options than the default one",
    "StartupSection": "an order of starting",
    "ResourceAllocationSection": "reservations of CPU and memory",
    "InstallSection": "a first start that installs something",
}
TRUE = ("true", "1")


@dataclass(frozen=True)
class _Bus:
    """A disk's bus, and words if it is not what the guest had."""

    name: str
    note: str = ""


def draft_guest(system: System, disks: Mapping[str, Disk], *, name: str) -> GuestDraft:
    """Returns a guest with the same hardware as far as there is such here.

    Args:
        system: The machine.
        disks: The descriptor's disks by id. The guest's disks name them in `image`; those without a file are empty.
        name: Of the guest.

    Raises:
        OvfError: CPUs, memory or a disk are not said in a way that makes sense.
    """
    firmware = _firmware(system.settings)
    windows = bool(WINDOWS.search(system.os))
    linux = not windows and bool(LINUX.search(system.os))
    items = [item for item in _disk_items(system.items) if _disk_id(item) is not None]
    controllers = {item.id: item for item in system.items if item.kind in CONTROLLERS}
    buses = [_bus(controllers.get(item.parent), linux=linux, bios=firmware == "bios") for item in items]
    legacy = any(bus.name == "ide" for bus in buses)
    if legacy:  # a machine with IDE has no PCI Express
        buses = [_Bus("sata", "NVMe disks: SATA here, beside IDE") if bus.name == "nvme" else bus for bus in buses]
    drafts = [_disk(item, bus, disks) for item, bus in zip(items, buses, strict=True)]
    if not drafts:
        raise OvfError(f"the machine '{system.name}' has no disk")
    cards = [_card(item) for item in system.items if item.kind == NIC]
    macs = [adapter.mac for adapter in system.adapters] if len(system.adapters) == len(cards) else []
    cpus, cpu_notes = _cpus(system)
    notes = [
        *cpu_notes,
        *dict.fromkeys(bus.note for bus in buses if bus.note),
        *dict.fromkeys(note for _, note in cards if note),
        *_left_out(system.items),
        *_vendor_notes(system),
    ]
    return GuestDraft(
        name=name,
        cpus=cpus,
        memory=_memory(system),
        firmware=firmware,
        profile="legacy" if legacy else "windows" if windows else "linux",
        disks=tuple(drafts),
        nics=tuple(_with_mac(card, index, macs) for index, (card, _) in enumerate(cards)),
        notes=tuple(notes),
    )


def section_notes(sections: Iterable[str]) -> Iterator[str]:
    """Yields words for sections that have no counterpart."""
    for section in dict.fromkeys(sections):
        yield f"{SECTIONS.get(section, f'the section {section}')}: left out"


def _firmware(settings: Mapping[str, str]) -> str:
    # XenServer: "order=cd;firmware=uefi"; VirtualBox: EFI, EFI64; VMware: efi.
    boot, platform = settings.get("hvm_boot_params", ""), settings.get("platform", "")
    efi = settings.get("firmware", "").lower().startswith("efi") or "firmware=uefi" in boot
    keys = ("bootoptions.efisecurebootenabled", "uefi.secureboot.enabled")
    secure = any(settings.get(key, "").lower() in TRUE for key in keys) or "secureboot=true" in platform
    if not efi:
        return "bios"
    return "uefi-secure" if secure else "uefi"


def _cpus(system: System) -> tuple[int, list[str]]:
    quantity = next((item.quantity for item in system.items if item.kind == CPU), "1")
    number = parse_whole(quantity)
    if not number:
        raise OvfError(f"the machine '{system.name}' has '{quantity}' CPUs")
    if number > MAX_CPUS:
        return MAX_CPUS, [f"{number} CPUs: a guest has {MAX_CPUS} at most"]
    return number, []


def _memory(system: System) -> int:
    item = next((item for item in system.items if item.kind == MEMORY), None)
    if item is None:
        raise OvfError(f"the machine '{system.name}' does not say how much memory it has")
    size = parse_bytes(item.quantity, item.units, f"the memory of '{system.name}'")
    if not MIN_MEMORY <= size <= MAX_MEMORY:
        raise OvfError(f"the machine '{system.name}' has {size} bytes of memory: expected 16 MiB at least")
    return size


def _disk_items(items: Iterable[Item]) -> list[Item]:
    """Disks in the order that firmware looks at them: by kind of controller, its number, and the place on it.

    Kinds stand in their order already, but VMware writes a second IDE controller before the first.
    """
    everything = list(items)
    controllers = [item for item in everything if item.kind in CONTROLLERS]
    kinds = list(dict.fromkeys((item.kind, item.subtype) for item in controllers))
    order = {item.id: (kinds.index((item.kind, item.subtype)), parse_whole(item.address) or 0) for item in controllers}
    found = [item for item in everything if item.kind in DISK_KINDS]
    return sorted(found, key=lambda item: (*order.get(item.parent, (-1, 0)), parse_whole(item.place) or 0))


def _disk_id(item: Item) -> str | None:
    match = DISK_REFERENCE.fullmatch(item.resource)
    return match[1] if match else None


def _disk(item: Item, bus: _Bus, disks: Mapping[str, Disk]) -> DiskDraft:
    name = _disk_id(item) or ""
    if name not in disks:
        raise OvfError(f"a machine has the disk '{name}', which the descriptor does not declare")
    return DiskDraft(image=name if disks[name].file else None, bus=bus.name, size=disks[name].capacity)


def _bus(controller: Item | None, *, linux: bool, bios: bool) -> _Bus:
    if controller is None:
        return _paravirtual(linux=linux, bios=bios)
    subtype = controller.subtype.lower()
    if controller.kind == IDE:
        return _Bus("ide") if bios else _Bus("sata", "IDE disks: SATA here, for UEFI starts from no IDE disk")
    if subtype in BUSES:
        return _Bus(BUSES[subtype])
    if controller.kind == SCSI:
        return _scsi(SCSI_NAMES.get(subtype, controller.subtype), linux=linux)
    return _Bus("sata", f"storage controller '{controller.subtype}': the disks are on SATA here" if subtype else "")


def _scsi(name: str, *, linux: bool) -> _Bus:
    if not linux:
        return _Bus(
            "sata", f"SCSI controller ({name}): the disks are on SATA here, for which every system has a driver"
        )
    return _Bus(
        "scsi",
        f"SCSI controller ({name}): virtio-scsi here; a guest whose initramfs lacks that driver starts with bus = sata",
    )


def _paravirtual(*, linux: bool, bios: bool) -> _Bus:
    """XenServer's disks have no controller: its firmware sees IDE, and its drivers their own."""
    if linux:
        return _Bus(
            "virtio", "Xen's disks: virtio here; a guest whose initramfs lacks that driver starts with bus = sata"
        )
    words = "take Xen's own drivers out of the guest before it moves"
    return _Bus("ide", f"Xen's disks: IDE here; {words}") if bios else _Bus("sata", f"Xen's disks: SATA here; {words}")


def _card(item: Item) -> tuple[NicDraft, str]:
    network = item.connection or "network"
    model = CARDS.get(item.subtype.lower().removeprefix("vmware."))
    mac = _mac(item.address)
    note = ""
    if model is None:
        model = "e1000"
        note = f"network card '{item.subtype}': e1000 here" if item.subtype else "network card of no model: e1000 here"
    return NicDraft(network=network, model=model, mac=mac), note


def _with_mac(card: NicDraft, index: int, macs: list[str]) -> NicDraft:
    mac = card.mac or (_mac(macs[index]) if macs else None)
    return NicDraft(network=card.network, model=card.model, mac=mac)


def _mac(text: str) -> str | None:
    digits = re.sub(r"[:-]", "", text.lower())
    if not MAC.fullmatch(digits) or int(digits[:2], 16) & MULTICAST:
        return None
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def _left_out(items: Iterable[Item]) -> Iterator[str]:
    notes = []
    for item in items:
        subtype = item.subtype if item.subtype.lower() not in QUIET_SUBTYPES else ""
        if item.kind in DISK_KINDS and _disk_id(item) is not None:
            continue
        if item.kind in LEFT_OUT:
            notes.append(f"{LEFT_OUT[item.kind]}{f' ({subtype})' if subtype else ''}: left out")
        elif item.kind in DISK_KINDS:
            notes.append(f"disk '{item.name}' ({item.resource or 'of the host'}): left out, it is not in the appliance")
        elif "vtpm" in item.subtype.lower():
            notes.append("TPM: its contents stay behind; `tpm = true` gives the guest a new one")
        elif item.kind not in UNREMARKED and item.subtype.lower() not in QUIET_SUBTYPES:
            notes.append(
                f"'{item.name or f'hardware of type {item.kind}'}'{f' ({subtype})' if subtype else ''}: left out"
            )
    yield from dict.fromkeys(notes)


def _vendor_notes(system: System) -> Iterator[str]:
    if system.settings.get("nvram"):
        yield "UEFI's variables: left out; the guest starts from its disk's default boot file"
    yield from section_notes(section for section in system.sections if section not in ("Machine", "StorageSection"))
