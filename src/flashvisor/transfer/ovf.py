"""Reads an OVF descriptor: XML in, plain data out. Whatever a vendor writes, only names and numbers leave this module.

Owns the XML of DSP0243 1.1 and 2.1 and its dialects. Does not own what becomes of it (hardware.py)::

    envelope = parse_ovf(data, "web.ovf")
    envelope.systems[0].items[0].quantity
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from flashvisor.errors import ExplodingImageError, OvfError, XmlEntityError
from flashvisor.model.size import show_size
from flashvisor.transfer.inspect import MAX_VIRTUAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

LIMIT = 2 << 20  # bytes of a descriptor; real ones have a few thousand, with licenses in many languages some 100,000
MACHINES = 256  # in one descriptor; vSphere's own limit is half of that
ITEMS = ("Item", "StorageItem", "EthernetPortItem")  # the last two since OVF 2.0
CONFIG = ("Config", "ExtraConfig")  # VMware's settings
XEN_SETTING = "VirtualSystemOtherConfigurationData"
PLAIN_SECTIONS = frozenset({"Info", "Name", "OperatingSystemSection", "VirtualHardwareSection", "AnnotationSection"})
DIGITS = 20
UNITS = {"byte": 1, "bytes": 1, "kilobytes": 1 << 10, "megabytes": 1 << 20, "gigabytes": 1 << 30, "terabytes": 1 << 40}
UNITS |= {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
FACTORS = 4  # of a unit; real ones have one
FACTOR = re.compile(r"\*\s*(\d{1,4})\s*(?:\^\s*(\d{1,2}))?\s*")  # DSP0004, annex C: "byte * 2^20"


@dataclass(frozen=True)
class File:
    """A file that the descriptor names. `compression` is "" or "gzip"."""

    href: str
    compression: str = ""


@dataclass(frozen=True)
class Disk:
    """A disk: its file, or None for an empty one; its size in bytes."""

    file: File | None
    capacity: int


@dataclass(frozen=True)
class Item:
    """A piece of hardware (CIM_ResourceAllocationSettingData). What is not given is ""."""

    kind: int
    name: str = ""
    id: str = ""
    parent: str = ""
    place: str = ""
    address: str = ""
    subtype: str = ""
    connection: str = ""
    resource: str = ""
    quantity: str = ""
    units: str = ""


@dataclass(frozen=True)
class Adapter:
    """A network card as VirtualBox describes it beside the items."""

    mac: str


@dataclass(frozen=True)
class System:
    """A virtual machine. `settings` are what vendors add, keys in lower case; `sections` what nobody reads here."""

    name: str
    os: str
    items: tuple[Item, ...]
    settings: dict[str, str]
    adapters: tuple[Adapter, ...]
    sections: tuple[str, ...]


@dataclass(frozen=True)
class Envelope:
    """A descriptor: disks by their id, and machines."""

    disks: dict[str, Disk]
    systems: tuple[System, ...]
    sections: tuple[str, ...]


def parse_ovf(data: bytes, name: str) -> Envelope:
    """Reads a descriptor.

    Args:
        data: The XML.
        name: For messages.

    Raises:
        XmlEntityError: it declares a document type or entities.
        OvfError: it is no OVF descriptor.
        ExplodingImageError: it declares a disk larger than any.
    """
    if len(data) > LIMIT:
        raise OvfError(f"{name} is {len(data)} bytes long: expected a descriptor of {LIMIT} at most")
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise XmlEntityError(f"{name} declares what no descriptor needs", evidence=repr(error)) from error
    except (ParseError, ValueError, LookupError) as error:
        raise OvfError(f"{name} is not well-formed XML", evidence=str(error)) from error
    if _local(root) != "Envelope":
        raise OvfError(f"{name} is no OVF descriptor: its root is '{_local(root)}'")
    files = {_get(each, "id"): File(_get(each, "href"), _compression(each, name)) for each in _all(root, "File")}
    disks = {_get(each, "diskId"): _disk(each, files, name) for each in _all(root, "Disk")}
    machines = list(_all(root, "VirtualSystem"))
    if not machines:
        raise OvfError(f"{name} describes no virtual machine")
    if len(machines) > MACHINES:
        raise OvfError(f"{name} describes {len(machines)} virtual machines: expected {MACHINES} at most")
    default = _default_configuration(root)
    systems = tuple(_system(each, default) for each in machines)
    known = {"References", "DiskSection", "NetworkSection", "VirtualSystem", "VirtualSystemCollection", "Strings"}
    return Envelope(disks, systems, tuple(_local(each) for each in root if _local(each) not in known))


def parse_bytes(quantity: str, units: str, what: str) -> int:
    """Returns a number with CIM's units in bytes ("byte * 2^20", or a word as "MegaBytes").

    Raises:
        OvfError: they make no sense.
    """
    word, star, factors = units.strip().lower().partition("*")
    unit = UNITS.get(word.strip() or "byte")
    matches = list(FACTOR.finditer(star + factors))
    whole = "".join(match[0] for match in matches) == star + factors
    number = parse_whole(quantity)
    if unit is None or not whole or number is None or len(matches) > FACTORS:
        raise OvfError(f"{what} is '{quantity}' in units of '{units}': expected a number of bytes")
    for match in matches:
        unit *= int(match[1]) ** int(match[2] or 1)
    return number * unit


def parse_whole(text: str) -> int | None:
    """Returns a whole number; None if a text is none, or longer than any that means something."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= DIGITS else None


def _disk(element: Element, files: dict[str, File], name: str) -> Disk:
    disk, ref = _get(element, "diskId"), _get(element, "fileRef")
    if _get(element, "parentRef"):
        raise OvfError(f"{name}: the disk '{disk}' holds only what differs from another one")
    if ref and ref not in files:
        raise OvfError(f"{name}: the disk '{disk}' lies in the file '{ref}', which is not declared")
    capacity = parse_bytes(
        _get(element, "capacity"), _get(element, "capacityAllocationUnits"), f"{name}: the size of '{disk}'"
    )
    if capacity > MAX_VIRTUAL:
        raise ExplodingImageError(f"{name}: the disk '{disk}' claims {show_size(capacity)}")
    return Disk(files[ref] if ref else None, capacity)


def _compression(element: Element, name: str) -> str:
    kind = _get(element, "compression").lower()
    if kind not in ("", "identity", "gzip"):
        raise OvfError(f"{name}: the file '{_get(element, 'href')}' is compressed by '{kind}': expected gzip")
    if _get(element, "chunkSize"):
        raise OvfError(f"{name}: the file '{_get(element, 'href')}' is cut into chunks; put them together first")
    return "" if kind == "identity" else kind


def _system(element: Element, default: str) -> System:
    os = next(_all(element, "OperatingSystemSection"), None)
    words = [] if os is None else [_get(os, "osType"), *(_text(os, tag) for tag in ("Description", "OSType"))]
    machine = next(_all(element, "Machine"), None)
    return System(
        name=_text(element, "Name") or _get(element, "id"),
        os=" ".join(filter(None, [*words, _get(machine, "OSType") if machine is not None else ""])),
        items=tuple(_item(each) for each in _items(element, default)),
        settings=dict(_settings(element)),
        adapters=tuple(_adapters(machine)),
        sections=tuple(_local(each) for each in element if _local(each) not in PLAIN_SECTIONS),
    )


def _default_configuration(root: Element) -> str:
    """The deployment option that is meant when nobody chooses (DSP0243 2.1, 9.8)."""
    options = list(_all(root, "Configuration"))
    chosen = [each for each in options if _get(each, "default").lower() in ("true", "1")] or options
    return _get(chosen[0], "id") if chosen else ""


def _items(element: Element, default: str) -> Iterator[Element]:
    section = next(_all(element, "VirtualHardwareSection"), None)
    for each in () if section is None else section:
        configurations = _get(each, "configuration").split()
        wanted = not configurations or default in configurations
        # Ranges say what a machine may have ("min", "max"); the item without or with "normal" says what it has.
        if _local(each) in ITEMS and wanted and _get(each, "bound") in ("", "normal"):
            yield each


def _item(element: Element) -> Item:
    def text(tag: str) -> str:
        return _text(element, tag)

    return Item(
        kind=parse_whole(text("ResourceType")) or 0,
        name=text("ElementName") or text("Caption") or text("Description"),
        id=text("InstanceID") or text("InstanceId"),
        parent=text("Parent"),
        place=text("AddressOnParent"),
        address=text("Address"),
        subtype=text("ResourceSubType"),
        connection=text("Connection"),
        resource=text("HostResource"),
        quantity=text("VirtualQuantity"),
        units=text("AllocationUnits"),
    )


def _settings(element: Element) -> Iterator[tuple[str, str]]:
    for each in element.iter():
        name = _local(each)
        if name in CONFIG:
            yield _get(each, "key").lower(), _get(each, "value")
        elif name == XEN_SETTING:
            yield (_get(each, "Name") or _text(each, "Name")).lower(), _text(each, "Value")
        elif name == "Firmware":
            yield "firmware", _get(each, "type")


def _adapters(machine: Element | None) -> Iterator[Adapter]:
    """The cards of VirtualBox's own section that are switched on, by slot."""
    cards = [] if machine is None else [each for each in _all(machine, "Adapter") if _get(each, "enabled") == "true"]
    for each in sorted(cards, key=lambda card: _get(card, "slot").rjust(4)):
        yield Adapter(_get(each, "MACAddress"))


def _local(element: Element) -> str:
    """An element's name without its namespace: dialects differ in it."""
    return str(element.tag).rpartition("}")[2]


def _all(element: Element, name: str) -> Iterator[Element]:
    return (each for each in element.iter() if _local(each) == name)


def _text(element: Element, name: str) -> str:
    return next(((each.text or "").strip() for each in element if _local(each) == name), "")


def _get(element: Element, name: str) -> str:
    """An attribute, with or without a namespace."""
    return next((value.strip() for key, value in element.items() if key.rpartition("}")[2] == name), "")
