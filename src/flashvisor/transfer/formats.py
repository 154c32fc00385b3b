"""What a file is, by its content; names are never asked. Pure, given bytes.

Owns the signatures. Does not own whether the rest of the file keeps what they promise (inspect.py)::

    detect(Region.of(Path("anything")))      # Kind.VMDK
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from flashvisor.errors import UnknownFormatError

if TYPE_CHECKING:
    from flashvisor.transfer.region import Region


class Kind(StrEnum):
    """What can be imported. The values are the words that people use."""

    QCOW2 = "qcow2"
    RAW = "raw"
    VMDK = "vmdk"
    VMDK_TEXT = "vmdk descriptor"
    VHD = "vhd"
    VHDX = "vhdx"
    VDI = "vdi"
    OVA = "ova"
    OVF = "ovf"
    GZIP = "gzip"
    XZ = "xz"
    ZSTD = "zstd"


DISKS = frozenset({Kind.QCOW2, Kind.RAW, Kind.VMDK, Kind.VMDK_TEXT, Kind.VHD, Kind.VHDX, Kind.VDI})
COMPRESSED = frozenset({Kind.GZIP, Kind.XZ, Kind.ZSTD})

HEAD = 65_536  # bytes from the start that are looked at
SECTOR = 512  # bytes
# docs/interop/qcow2.rst; VMware Virtual Disks 5.0; VHD 1.0; MS-VHDX 2.2.1; RFC 1952, 8878; xz-file-format 1.1.0.
MAGICS = (
    (b"QFI\xfb", Kind.QCOW2),
    (b"KDMV", Kind.VMDK),
    (b"# Disk DescriptorFile", Kind.VMDK_TEXT),
    (b"vhdxfile", Kind.VHDX),
    (b"conectix", Kind.VHD),
    (b"\x1f\x8b", Kind.GZIP),
    (b"\xfd7zXZ\x00", Kind.XZ),
    (b"\x28\xb5\x2f\xfd", Kind.ZSTD),
)
VDI_MAGIC, VDI_PLACE = b"\x7f\x10\xda\xbe", 0x40
TAR_MAGIC, TAR_PLACE = b"ustar", 257  # pax(1), ustar interchange format
VHD_COOKIE = b"conectix"  # also in the last sector of every VHD; of a fixed one, only there
MBR_MAGIC, MBR_PLACE = b"\x55\xaa", 510
GPT_MAGIC, GPT_PLACES = b"EFI PART", (512, 4096)  # UEFI 2.10, table 5.5, on disks of either sector size
ENVELOPE = b"Envelope"
BOMS = (b"\xef\xbb\xbf",)
# What people try, and what they should do with it.
OTHERS = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"BZh", "a bzip2 file"),
    (b"Rar!", "a RAR archive"),
    (b"COWD", "a VMDK of the sparse kind that ESX servers keep"),
    (b"MSWIM", "a Windows image (WIM)"),
    (b"MZ", "a PE file; an appliance of flashvisor needs no import"),
)
ISO_MAGIC, ISO_PLACE = b"CD001", 0x8001  # ECMA-119, 8.4.2


def detect(region: Region) -> Kind:
    """Returns what a file is.

    Raises:
        UnknownFormatError: nothing that can be imported; where it is known, the error says what it is.
    """
    head = region.read(0, HEAD)
    for magic, kind in MAGICS:
        if head.startswith(magic):
            return kind
    found = _by_place(head)
    if found is not None:
        return found
    if region.read(region.size - SECTOR, SECTOR).startswith(VHD_COOKIE):
        return Kind.VHD
    if has_partition_table(head):
        return Kind.RAW
    raise UnknownFormatError(f"{region.path.name} is {_guess(head)}", evidence=f"it begins with {head[:16].hex(' ')}")


def has_partition_table(head: bytes) -> bool:
    """Tells whether a disk's first bytes (at least 4104) hold an MBR or a GPT."""
    by_gpt = any(head[place : place + len(GPT_MAGIC)] == GPT_MAGIC for place in GPT_PLACES)
    return by_gpt or head[MBR_PLACE : MBR_PLACE + len(MBR_MAGIC)] == MBR_MAGIC


def _by_place(head: bytes) -> Kind | None:
    if head[VDI_PLACE : VDI_PLACE + len(VDI_MAGIC)] == VDI_MAGIC:
        return Kind.VDI
    if head[TAR_PLACE : TAR_PLACE + len(TAR_MAGIC)] == TAR_MAGIC:
        return Kind.OVA
    text = head.lstrip(b"".join(BOMS) + b" \t\r\n")
    if text.startswith(b"<") and ENVELOPE in text:
        return Kind.OVF
    return None


def _guess(head: bytes) -> str:
    if not head:
        return "an empty file"
    if head[ISO_PLACE : ISO_PLACE + len(ISO_MAGIC)] == ISO_MAGIC:
        return "a CD or DVD image (ISO 9660), and no disk that a guest starts from"
    named = next((name for magic, name in OTHERS if head.startswith(magic)), "")
    return named or "neither a disk image of a known format nor a disk with a partition table"
