"""Boot entries, judged by virt-firmware: another parser and writer of the same bytes."""

from __future__ import annotations

import uuid

import pytest
from virt.firmware.efi import bootentry, devpath, ucs16

from flashvisor.flash.layout import PARTITIONS, SECTOR
from flashvisor.model.bootentry import LoadOption, Partition, decode, decode_order, encode, encode_order, entry_name

A = PARTITIONS["a"]
PART = Partition(2, A.start // SECTOR, A.size // SECTOR, uuid.UUID(A.guid))
PATH = "\\EFI\\BOOT\\BOOTX64.EFI"
OPTION = LoadOption("flashvisor a", PART, PATH, optional=b"\x01\x02")


def foreign(*, title: str, nodes: list[devpath.DevicePathElem]) -> bytes:
    """An entry as virt-firmware writes it."""
    path = devpath.DevicePath()
    path.extend(nodes)
    return bytes(bootentry.BootEntry(attr=1, title=ucs16.from_string(title), devicepath=path))


def test_virt_firmware_reads_what_we_write() -> None:
    entry = bootentry.BootEntry(data=encode(OPTION))
    assert str(entry.title) == "flashvisor a"
    assert entry.attr == bootentry.LOAD_OPTION_ACTIVE
    assert entry.optdata == b"\x01\x02"
    drive, file = entry.devicepath
    assert str(drive.get_partuuid()).lower() == A.guid.lower()
    expected = devpath.DevicePathElem()
    expected.set_gpt(2, A.start // SECTOR, A.size // SECTOR, A.guid)
    assert bytes(drive) == bytes(expected)
    assert str(file.get_filepath()) == PATH
    assert bytes(entry) == encode(OPTION)


def test_we_read_what_virt_firmware_writes() -> None:
    bus, drive, file = (devpath.DevicePathElem() for _ in range(3))
    bus.devtype, bus.subtype, bus.data = 3, 5, b"\x01\x00"  # USB(port=1)
    drive.set_gpt(2, PART.start, PART.size, A.guid)
    file.set_filepath(PATH)
    assert decode(foreign(title="Übung", nodes=[bus, drive, file])) == LoadOption("Übung", PART, PATH)
    assert decode(foreign(title="USB", nodes=[bus])) == LoadOption("USB", None, None)
    inactive = encode(LoadOption("off", PART, PATH, active=False))
    assert decode(inactive) == LoadOption("off", PART, PATH, active=False)


def test_a_disk_named_by_its_mbr_is_no_partition_of_ours() -> None:
    drive = devpath.DevicePathElem()
    drive.set_gpt(2, PART.start, PART.size, A.guid)
    drive.data = drive.data[:-2] + b"\x01\x01"
    assert decode(foreign(title="mbr", nodes=[drive])) == LoadOption("mbr", None, None)


@pytest.mark.parametrize("length", range(len(encode(OPTION))))
def test_a_cut_entry_never_breaks_the_reader(length: int) -> None:
    data = encode(OPTION)[:length]
    assert decode(data) in (None, LoadOption("flashvisor a", PART, PATH), *shortened())


def shortened() -> list[LoadOption]:
    return [LoadOption("flashvisor a", PART, PATH, optional=b"\x01")]


def test_an_entry_without_a_file_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="USB"):
        encode(LoadOption("USB", None, None))


def test_order_and_names() -> None:
    assert encode_order([3, 0x1A2B]) == b"\x03\x00\x2b\x1a"
    assert decode_order(b"\x03\x00\x2b\x1a\xff") == (3, 0x1A2B)
    assert decode_order(b"") == ()
    assert entry_name(10) == "Boot000A"
