r"""UEFI's boot variables as bytes and as types: Boot####, BootOrder, BootNext, BootCurrent. Pure, no I/O.

Owns EFI_LOAD_OPTION (UEFI 2.10, 3.1.3) with the two device path nodes that name a file on a GPT partition (10.3.5.1 and
10.3.5.4). Does not own how variables are read and written (host/efivars.py), nor which entry is to be started::

    data = encode(LoadOption("flashvisor a", Partition(2, 67584, 65536, guid), r"\EFI\BOOT\BOOTX64.EFI"))
    decode(data).partition.guid == guid
    encode_order([3, 0]) == b"\x03\x00\x00\x00"
"""

from __future__ import annotations

import re
import struct
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")  # EFI_GLOBAL_VARIABLE: Boot*, SecureBoot, SetupMode
LOADER = uuid.UUID("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")  # systemd-stub's: LoaderDevicePartUUID
ACTIVE = 0x1  # LOAD_OPTION_ACTIVE
ENTRY_NAME = re.compile(r"Boot([0-9A-F]{4})")
ENTRIES = 1 << 16  # Boot0000 to BootFFFF

_HEAD = struct.Struct("<IH")  # Attributes, FilePathListLength
_NODE = struct.Struct("<BBH")  # Type, SubType, Length with these 4 bytes
_DRIVE = struct.Struct("<IQQ16sBB")  # PartitionNumber, Start, Size, Signature, Format, SignatureType
_MEDIA, _HARD_DRIVE, _FILE_PATH, _END = 0x04, 0x01, 0x04, 0x7F
_GPT, _BY_GUID = 0x02, 0x02
_WHOLE_END = _NODE.pack(_END, 0xFF, _NODE.size)
_NUMBER = struct.Struct("<H")


@dataclass(frozen=True)
class Partition:
    """A GPT partition as HD() names it: number from 1, first block and count of blocks (LBA), own GUID."""

    number: int
    start: int
    size: int
    guid: uuid.UUID


@dataclass(frozen=True)
class LoadOption:
    """A boot entry. `partition` and `path` are None where the entry names no file on a GPT partition.

    `path` is as UEFI writes it, from the root, with backslashes; `optional` is what the image gets as its own data.
    """

    description: str
    partition: Partition | None
    path: str | None
    active: bool = True
    optional: bytes = b""


@dataclass(frozen=True)
class BootVariables:
    """What firmware was told to start, and what it started.

    Attributes:
        current: The entry that was started; None if firmware says none.
        next: BootNext: the entry for the next start only.
        order: BootOrder.
        entries: All Boot#### that can be read, by number.
        device: GUID of the partition that the running image came from, where its stub said so.
        checked: Whether firmware starts signed images only (Secure Boot).
    """

    current: int | None = None
    next: int | None = None
    order: tuple[int, ...] = ()
    entries: Mapping[int, LoadOption] | None = None
    device: uuid.UUID | None = None
    checked: bool = False


def entry_name(number: int) -> str:
    """Returns an entry's variable: 10 is Boot000A."""
    return f"Boot{number:04X}"


def encode(option: LoadOption) -> bytes:
    """Returns an entry as EFI_LOAD_OPTION.

    Raises:
        ValueError: the option names no file on a partition.
    """
    if option.partition is None or option.path is None:
        raise ValueError(f"the boot entry {option.description!r} names no file on a partition")
    part = option.partition
    drive = _DRIVE.pack(part.number, part.start, part.size, part.guid.bytes_le, _GPT, _BY_GUID)
    nodes = _node(_HARD_DRIVE, drive) + _node(_FILE_PATH, _text(option.path)) + _WHOLE_END
    return _HEAD.pack(ACTIVE * option.active, len(nodes)) + _text(option.description) + nodes + option.optional


def decode(data: bytes) -> LoadOption | None:
    """Returns an entry, or None where `data` is no EFI_LOAD_OPTION. What its path says beyond HD() and file is left."""
    if len(data) < _HEAD.size:
        return None
    attributes, length = _HEAD.unpack_from(data)
    ends = range(_HEAD.size, len(data) - 1, 2)
    end = next((at for at in ends if data[at : at + 2] == b"\0\0"), None)
    if end is None or end + 2 + length > len(data):
        return None
    description = data[_HEAD.size : end].decode("utf-16-le", "replace")
    nodes = data[end + 2 : end + 2 + length]
    partition, path = None, None
    for subtype, body in _media_nodes(nodes):
        if subtype == _HARD_DRIVE and len(body) == _DRIVE.size and body[-2:] == bytes([_GPT, _BY_GUID]):
            number, start, size, guid, _, _ = _DRIVE.unpack(body)
            partition = Partition(number, start, size, uuid.UUID(bytes_le=guid))
        elif subtype == _FILE_PATH:
            path = (path or "") + body.decode("utf-16-le", "replace").rstrip("\0")
    return LoadOption(description, partition, path, bool(attributes & ACTIVE), data[end + 2 + length :])


def encode_order(numbers: Sequence[int]) -> bytes:
    """Returns BootOrder's data; with one number, BootNext's."""
    return b"".join(_NUMBER.pack(number) for number in numbers)


def decode_order(data: bytes) -> tuple[int, ...]:
    """Returns the entry numbers in BootOrder, BootNext or BootCurrent; an odd byte at the end is left out."""
    return tuple(number for (number,) in _NUMBER.iter_unpack(data[: len(data) // 2 * 2]))


def _node(subtype: int, body: bytes) -> bytes:
    return _NODE.pack(_MEDIA, subtype, _NODE.size + len(body)) + body


def _text(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


def _media_nodes(nodes: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields subtype and body of the media nodes of a path's first instance; stops where a length makes no sense."""
    at = 0
    while at + _NODE.size <= len(nodes):
        kind, subtype, length = _NODE.unpack_from(nodes, at)
        if kind == _END or length < _NODE.size or at + length > len(nodes):
            return
        if kind == _MEDIA:
            yield subtype, nodes[at + _NODE.size : at + length]
        at += length
