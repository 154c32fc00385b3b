"""Our descriptors: read by our own import they are the same guest again, apart from what nobody else has."""

from __future__ import annotations

import msgspec

from flashvisor.transfer.draft import DiskDraft, NicDraft
from flashvisor.transfer.hardware import draft_guest
from flashvisor.transfer.ovf import parse_ovf
from flashvisor.transfer.ovfwriter import DiskFile, export_notes, write_ovf
from sim.importkit import record

GUEST = record().guests[0]
FILES = [DiskFile("a.vmdk", 10, 8 << 30), DiskFile("b.vmdk", 20, 20 << 30), DiskFile(None, 0, 1 << 30)]


def test_a_guest_comes_back_from_its_descriptor() -> None:
    envelope = parse_ovf(write_ovf(GUEST, FILES), "web.ovf")
    assert {name: disk.file.href if disk.file else None for name, disk in envelope.disks.items()} == {
        "disk1": "a.vmdk",
        "disk2": "b.vmdk",
        "disk3": None,
    }
    again = draft_guest(envelope.systems[0], envelope.disks, name=envelope.systems[0].name)
    for field in ("name", "cpus", "memory", "firmware", "profile"):
        assert getattr(again, field) == getattr(GUEST, field)
    # The empty virtio disk shares a controller with the first one, so it comes before the one on SATA.
    assert again.disks == (
        DiskDraft(image="disk1", bus="pvscsi", size=8 << 30),
        DiskDraft(image=None, bus="pvscsi", size=1 << 30),
        DiskDraft(image="disk2", bus="sata", size=20 << 30),
    )
    assert again.nics == (GUEST.nics[0], msgspec.structs.replace(GUEST.nics[1], model="vmxnet3"))


def test_what_others_do_not_have_is_told() -> None:
    assert export_notes(GUEST) == (
        "virtio disks: on VMware's paravirtual SCSI controller there",
        "virtio cards: vmxnet3 there",
    )
    plain = msgspec.structs.replace(
        GUEST, disks=(DiskDraft(image="web", bus="ide"),), nics=(NicDraft(network="a", model="e1000"),)
    )
    assert export_notes(plain) == ()


def test_every_firmware_and_profile() -> None:
    for firmware, profile, bus in (
        ("bios", "legacy", "ide"),
        ("uefi-secure", "windows", "sata"),
        ("uefi", "linux", "nvme"),
    ):
        guest = msgspec.structs.replace(
            GUEST, firmware=firmware, profile=profile, disks=(DiskDraft(image="web", bus=bus),), nics=()
        )
        envelope = parse_ovf(write_ovf(guest, FILES[:1]), "web.ovf")
        again = draft_guest(envelope.systems[0], envelope.disks, name="web")
        assert (again.firmware, again.profile, again.disks[0].bus) == (firmware, profile, bus)


def test_an_ide_controller_takes_two_disks() -> None:
    disks = tuple(DiskDraft(image=f"d{index}", bus="ide") for index in range(3))
    files = [DiskFile(f"d{index}.vmdk", 1, 1 << 20) for index in range(3)]
    data = write_ovf(msgspec.structs.replace(GUEST, disks=disks), files)
    items = parse_ovf(data, "x").systems[0].items
    controllers = [item.id for item in items if item.kind == 5]
    assert len(controllers) == 2
    assert [(item.parent, item.place) for item in items if item.kind == 17] == [
        (controllers[0], "0"),
        (controllers[0], "1"),
        (controllers[1], "0"),
    ]


def test_names_are_escaped() -> None:
    guest = msgspec.structs.replace(GUEST, nics=(NicDraft(network='<&">', model="virtio"),))
    assert parse_ovf(write_ovf(guest, FILES), "x").systems[0].items[-1].connection == '<&">'
