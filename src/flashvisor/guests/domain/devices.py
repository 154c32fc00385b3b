"""From a spec to the devices of its domain XML."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from flashvisor.guests.domain.element import add_text
from flashvisor.guests.domain.spec import DirectKernel, Disk, DiskFormat

if TYPE_CHECKING:
    from flashvisor.guests.domain.spec import Card, DomainSpec

SERIAL_LIMIT = 20  # characters: VIRTIO_BLK_ID_BYTES (virtio 1.2, 5.2.6)
SEED_SERIAL = "cidata"
AGENT_PORT = "org.qemu.guest_agent.0"  # by this name libvirt and the agent find each other
UNTAGGED = 1  # the VLAN in which a bridge of Linux keeps frames without a tag (ip-link(8), vlan_default_pvid)


def add_devices(domain: ET.Element, spec: DomainSpec) -> None:
    """Adds all devices of a guest."""
    devices = ET.SubElement(domain, "devices")
    add_text(devices, "emulator", spec.emulator)
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
    if spec.agent:
        _agent(devices)
    # iTCO is part of q35; i6300esb is conventional PCI and would need a bridge that our QEMU leaves out.
    ET.SubElement(devices, "watchdog", model="itco", action="reset")
    # Pages that the guest frees go back to the server, without anybody asking for them.
    ET.SubElement(devices, "memballoon", model="virtio", autodeflate="on", freePageReporting="on")
    rng = ET.SubElement(devices, "rng", model="virtio")
    ET.SubElement(rng, "backend", model="builtin")
    ET.SubElement(devices, "panic", model="isa")


def _disk(devices: ET.Element, disk: Disk, index: int, *, boot: bool) -> None:
    element = ET.SubElement(devices, "disk", type="file", device="disk")
    # A read or write that fails pauses the guest, which never hears of it: node/storagekeeper.py lets it go on.
    driver = {"name": "qemu", "type": disk.format.value, "error_policy": "stop", "rerror_policy": "stop"}
    if not disk.readonly:
        # No second copy in the server's page cache; a guest's flush reaches the disk; freed blocks are given back.
        driver |= {"cache": "none", "io": "native", "discard": "unmap"}
    ET.SubElement(element, "driver", driver)
    ET.SubElement(element, "source", file=disk.path)
    ET.SubElement(element, "target", dev=f"vd{_letters(index)}", bus="virtio")
    if disk.readonly:
        ET.SubElement(element, "readonly")
    if disk.serial:
        add_text(element, "serial", disk.serial[:SERIAL_LIMIT])
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
    if card.trunk:
        vlan = ET.SubElement(element, "vlan", trunk="yes")
        ET.SubElement(vlan, "tag", id=str(card.vlan or UNTAGGED), nativeMode="untagged")
        for number in card.trunk:
            ET.SubElement(vlan, "tag", id=str(number))
    elif card.vlan is not None:
        ET.SubElement(ET.SubElement(element, "vlan"), "tag", id=str(card.vlan))


def _serial(devices: ET.Element, spec: DomainSpec) -> None:
    serial = ET.SubElement(devices, "serial", type="unix")
    ET.SubElement(serial, "source", mode="bind", path=spec.console_socket)
    if spec.console_log:
        ET.SubElement(serial, "log", file=spec.console_log, append="off")
    target = ET.SubElement(serial, "target", type="isa-serial", port="0")
    ET.SubElement(target, "model", name="isa-serial")


def _agent(devices: ET.Element) -> None:
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name=AGENT_PORT)
