"""Writes an OVF descriptor for a guest, in the words that VMware, VirtualBox and our own import understand. Pure.

Owns the way from our hardware to theirs. Source: DSP0243 1.1; VMware's names for its devices::

    data = write_ovf(guest, [DiskFile("web-disk1.vmdk", size=91_136, capacity=8 << 30)])
    export_notes(guest)          # what they do not have
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flashvisor.transfer.draft import DiskDraft, GuestDraft, NicDraft

NAMESPACES = {
    "xmlns": "http://schemas.dmtf.org/ovf/envelope/1",
    "xmlns:ovf": "http://schemas.dmtf.org/ovf/envelope/1",
    "xmlns:rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    "xmlns:vssd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData",
    "xmlns:vmw": "http://www.vmware.com/schema/ovf",
}
STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
MACHINE = "vmx-13"  # ESXi 6.5 and later: the first with NVMe and Secure Boot
MIB = 1 << 20  # bytes


@dataclass(frozen=True)
class _Controller:
    """A controller in their words: CIM's number of the kind, VMware's name, how many disks one takes."""

    kind: int
    subtype: str
    name: str
    places: int


CONTROLLERS = {
    "ide": _Controller(5, "", "IDE controller", 2),
    "sata": _Controller(20, "vmware.sata.ahci", "SATA controller", 30),
    "pvscsi": _Controller(6, "VirtualSCSI", "SCSI controller", 15),
    "nvme": _Controller(20, "vmware.nvme.controller", "NVMe controller", 15),
}
BUSES = {"virtio": "pvscsi", "scsi": "pvscsi"}  # what VMware lacks, and what comes next to it
CARDS = {"virtio": "VmxNet3", "vmxnet3": "VmxNet3", "e1000": "E1000", "e1000e": "E1000e"}
# CIM_OperatingSystem.OSType and VMware's name for it.
SYSTEMS = {"linux": ("101", "otherLinux64Guest"), "windows": ("103", "windows9Server64Guest")}
OTHER_SYSTEM = ("1", "otherGuest64")


@dataclass(frozen=True)
class DiskFile:
    """A disk of the guest: its file in the appliance (None: an empty disk), the file's and the disk's bytes."""

    file: str | None
    size: int
    capacity: int


def export_notes(guest: GuestDraft) -> tuple[str, ...]:
    """Returns words for what the guest had and its copy elsewhere will not."""
    notes = []
    if any(disk.bus in BUSES for disk in guest.disks):
        notes.append("virtio disks: on VMware's paravirtual SCSI controller there")
    if any(nic.model == "virtio" for nic in guest.nics):
        notes.append("virtio cards: vmxnet3 there")
    return tuple(notes)


def write_ovf(guest: GuestDraft, files: Sequence[DiskFile]) -> bytes:
    """Returns the descriptor.

    Args:
        guest: The guest.
        files: One for each of its disks, in their order.
    """
    root = ET.Element("Envelope", NAMESPACES)
    references = ET.SubElement(root, "References")
    disks = _section(root, "DiskSection", "The guest's disks")
    for index, file in enumerate(files):
        attributes = {"ovf:diskId": f"disk{index + 1}", "ovf:capacity": str(file.capacity)}
        attributes["ovf:capacityAllocationUnits"] = "byte"
        if file.file is not None:
            names = {"ovf:id": f"file{index + 1}", "ovf:href": file.file, "ovf:size": str(file.size)}
            ET.SubElement(references, "File", names)
            attributes |= {"ovf:fileRef": f"file{index + 1}", "ovf:format": STREAM}
        ET.SubElement(disks, "Disk", attributes)
    networks = _section(root, "NetworkSection", "The networks that the guest was in")
    for network in dict.fromkeys(nic.network for nic in guest.nics):
        ET.SubElement(networks, "Network", {"ovf:name": network})
    _system(root, guest)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _system(root: ET.Element, guest: GuestDraft) -> None:
    system = ET.SubElement(root, "VirtualSystem", {"ovf:id": guest.name})
    _text(system, "Info", "A guest of a flashvisor server")
    _text(system, "Name", guest.name)
    number, os = SYSTEMS.get(guest.profile, OTHER_SYSTEM)
    section = _section(system, "OperatingSystemSection", "What is installed")
    section.attrib |= {"ovf:id": number, "vmw:osType": os}
    hardware = _section(system, "VirtualHardwareSection", "The guest's hardware")
    family = ET.SubElement(hardware, "System")
    for name, value in (
        ("ElementName", "Virtual Hardware Family"),
        ("InstanceID", "0"),
        ("VirtualSystemIdentifier", guest.name),
        ("VirtualSystemType", MACHINE),
    ):
        _text(family, f"vssd:{name}", value)
    for identity, item in enumerate(_items(guest), start=1):
        element = ET.SubElement(hardware, "Item")
        # The schema wants the names in this order: that of the alphabet.
        for name, value in sorted({**item, "InstanceID": str(identity)}.items()):
            _text(element, f"rasd:{name}", value)
    config = {"firmware": "bios" if guest.firmware == "bios" else "efi"}
    config["bootOptions.efiSecureBootEnabled"] = str(guest.firmware == "uefi-secure").lower()
    for key, value in config.items():
        ET.SubElement(hardware, "vmw:Config", {"ovf:required": "false", "vmw:key": key, "vmw:value": value})


def _items(guest: GuestDraft) -> Iterator[dict[str, str]]:
    """Yields hardware; numbers are given by order, from 1."""
    cpus, memory = str(guest.cpus), str(guest.memory // MIB)
    yield {"ElementName": f"{cpus} CPUs", "ResourceType": "3", "VirtualQuantity": cpus}
    yield {
        "AllocationUnits": "byte * 2^20",
        "ElementName": f"{memory} MiB of memory",
        "ResourceType": "4",
        "VirtualQuantity": memory,
    }
    number = 2
    for controller, disks in _controllers(guest.disks):
        number += 1
        parent = str(number)
        item = {"Address": "0", "ElementName": controller.name, "ResourceType": str(controller.kind)}
        yield item | ({"ResourceSubType": controller.subtype} if controller.subtype else {})
        for place, disk in enumerate(disks):
            number += 1
            yield {
                "AddressOnParent": str(place),
                "ElementName": f"Disk {disk + 1}",
                "HostResource": f"ovf:/disk/disk{disk + 1}",
                "Parent": parent,
                "ResourceType": "17",
            }
    for nic in guest.nics:
        yield _card(nic)


def _controllers(disks: Sequence[DiskDraft]) -> Iterator[tuple[_Controller, list[int]]]:
    """Yields controllers with the numbers of their disks, the first disk's controller first."""
    by_bus: dict[str, list[int]] = {}
    for index, disk in enumerate(disks):
        by_bus.setdefault(BUSES.get(disk.bus, disk.bus), []).append(index)
    for bus, numbers in by_bus.items():
        controller = CONTROLLERS[bus]
        for start in range(0, len(numbers), controller.places):
            yield controller, numbers[start : start + controller.places]


def _card(nic: NicDraft) -> dict[str, str]:
    item = {
        "AutomaticAllocation": "true",
        "Connection": nic.network,
        "ElementName": f"Network card on {nic.network}",
        "ResourceSubType": CARDS[nic.model],
        "ResourceType": "10",
    }
    return item | ({"Address": nic.mac} if nic.mac is not None else {})


def _section(parent: ET.Element, tag: str, info: str) -> ET.Element:
    section = ET.SubElement(parent, tag)
    _text(section, "Info", info)
    return section


def _text(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text
