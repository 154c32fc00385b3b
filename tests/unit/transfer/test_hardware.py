"""What VMware's, VirtualBox's and XenServer's hardware becomes, and the words for what becomes nothing."""

from __future__ import annotations

import pytest

from flashvisor.errors import OvfError
from flashvisor.transfer.draft import DiskDraft, GuestDraft, NicDraft
from flashvisor.transfer.hardware import draft_guest
from flashvisor.transfer.ovf import parse_ovf
from sim.appliances import virtualbox, vmware, xenserver

SIZE = 8 << 20  # bytes
NAMES = ("one", "two")


def draft(data: bytes) -> GuestDraft:
    envelope = parse_ovf(data, "x.ovf")
    return draft_guest(envelope.systems[0], envelope.disks, name="web")


def changed(data: bytes, old: str, new: str) -> bytes:
    text = data.decode()
    assert old in text
    return text.replace(old, new).encode()


def test_vmware() -> None:
    guest = draft(vmware(NAMES, SIZE))
    assert (guest.cpus, guest.memory, guest.firmware, guest.profile) == (4, 2 << 30, "uefi", "linux")
    # The disk at place 0 of the controller boots, whatever the order of the items.
    assert guest.disks == tuple(DiskDraft(image=f"vmdisk{n}", bus="pvscsi", size=SIZE) for n in (1, 2))
    assert guest.nics == (
        NicDraft(network="VM Network", model="vmxnet3"),
        NicDraft(network="Backup", model="e1000e", mac="00:50:56:ab:cd:ef"),
    )
    words = "\n".join(guest.notes)
    for expected in ("CD drive", "TPM", "UEFI's variables", "vApp properties"):
        assert expected in words
    assert "SCSI" not in words, "there is such a controller"
    assert "VMCI" not in words
    assert "Video" not in words
    assert "Annotation" not in words


def test_virtualbox() -> None:
    guest = draft(virtualbox(NAMES, SIZE))
    assert (guest.cpus, guest.memory, guest.firmware, guest.profile) == (2, 1 << 30, "uefi", "linux")
    assert [disk.bus for disk in guest.disks] == ["sata", "sata"]
    assert [(nic.network, nic.model, nic.mac) for nic in guest.nics] == [
        ("NAT", "e1000", "08:00:27:aa:bb:cc"),
        ("Bridged", "e1000", "08:00:27:aa:bb:cd"),
    ]
    words = "\n".join(guest.notes)
    for expected in ("PCNet32", "USB controller", "sound card (ensoniq1371)"):
        assert expected in words
    assert "Machine" not in words


def test_xenserver() -> None:
    guest = draft(xenserver(NAMES, SIZE))
    assert (guest.cpus, guest.memory, guest.firmware, guest.profile) == (2, 1 << 30, "bios", "legacy")
    assert guest.disks == tuple(DiskDraft(image=f"c0ffee00-{n}", bus="ide", size=SIZE) for n in (1, 2))
    assert [nic.mac for nic in guest.nics] == ["3e:12:34:56:78:9a", "3e:12:34:56:78:9b"]
    words = "\n".join(guest.notes)
    assert "DVD drive" in words
    assert "Xen's own drivers" in words
    assert words.count("no model") == 1, "the same words once"


@pytest.mark.parametrize(
    ("os", "boot", "firmware", "profile", "bus"),
    [
        ("Debian GNU/Linux 12", "", "bios", "linux", "virtio"),
        ("Debian GNU/Linux 12", ";firmware=uefi", "uefi", "linux", "virtio"),
        ("Windows Server 2022", ";firmware=uefi", "uefi", "windows", "sata"),
        ("Windows Server 2008", "", "bios", "legacy", "ide"),
    ],
)
def test_xenserver_by_its_system(os: str, boot: str, firmware: str, profile: str, bus: str) -> None:
    guest = draft(xenserver(NAMES, SIZE, os=os, boot=boot))
    assert (guest.firmware, guest.profile, guest.disks[0].bus) == (firmware, profile, bus)


@pytest.mark.parametrize(
    ("os", "firmware", "secure", "expected"),
    [
        ("windows9Server64Guest", "efi", "true", ("uefi-secure", "windows", "pvscsi")),
        ("windows9Server64Guest", "bios", "true", ("bios", "windows", "pvscsi")),
        ("other3xLinux64Guest", "bios", "false", ("bios", "linux", "pvscsi")),
        ("darwin19_64Guest", "efi", "false", ("uefi", "linux", "pvscsi")),
        ("freebsd13_64Guest", "bios", "false", ("bios", "linux", "pvscsi")),
    ],
)
def test_firmware_and_profile_of_vmware(os: str, firmware: str, secure: str, expected: tuple[str, ...]) -> None:
    guest = draft(vmware(NAMES, SIZE, os=os, firmware=firmware, secure=secure))
    assert (guest.firmware, guest.profile, guest.disks[0].bus) == expected


SCSI = "<rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>"


@pytest.mark.parametrize(
    ("subtype", "kind", "firmware", "bus", "word"),
    [
        ("lsilogic", 6, "efi", "scsi", "LSI Logic"),
        ("buslogic", 6, "bios", "scsi", "BusLogic"),
        ("", 6, "bios", "scsi", "SCSI"),
        ("VirtioSCSI", 20, "efi", "scsi", ""),
        ("", 20, "efi", "sata", ""),
        ("vmware.nvme.controller", 20, "efi", "nvme", ""),
        ("vmware.sata.ahci", 20, "efi", "sata", ""),
        ("somebody's", 20, "efi", "sata", "somebody's"),
        ("PIIX4", 5, "bios", "ide", ""),
        ("PIIX4", 5, "efi", "sata", "UEFI starts from no IDE disk"),
    ],
)
def test_controllers(subtype: str, kind: int, firmware: str, bus: str, word: str) -> None:
    data = vmware(NAMES, SIZE, firmware=firmware).decode()
    start = data.index(SCSI)
    old = data[start : data.index("</Item>", start)]
    new = f"<rasd:ResourceSubType>{subtype}</rasd:ResourceSubType><rasd:ResourceType>{kind}</rasd:ResourceType>"
    guest = draft(changed(data.encode(), old, new))
    assert guest.disks[0].bus == bus
    assert guest.profile == ("legacy" if bus == "ide" else "linux")
    assert word in "\n".join(guest.notes)


def test_a_system_that_may_lack_our_scsi_driver_gets_sata() -> None:
    guest = draft(changed(vmware(NAMES, SIZE, os="windows9Server64Guest"), "VirtualSCSI", "lsilogicsas"))
    assert guest.disks[0].bus == "sata"
    assert any("LSI Logic SAS" in note for note in guest.notes)


def test_the_first_ide_controller_is_the_first_wherever_it_stands() -> None:
    """As VMware writes them: IDE 1, then IDE 0."""
    text = " ".join(vmware(NAMES, SIZE, firmware="bios").decode().split()).replace("> <", "><")
    text = text.replace(SCSI, "").replace("<rasd:ResourceType>6<", "<rasd:ResourceType>5<")
    text = text.replace("<rasd:Address>0</rasd:Address>", "<rasd:Address>1</rasd:Address>", 1)
    second = "ovf:/disk/vmdisk2</rasd:HostResource><rasd:InstanceID>8</rasd:InstanceID><rasd:Parent>{0}<"
    guest = draft(changed(text.encode(), second.format(3), second.format(4)))
    assert [(disk.image, disk.bus) for disk in guest.disks] == [("vmdisk2", "ide"), ("vmdisk1", "ide")]


def test_a_disk_named_without_scheme() -> None:
    assert draft(changed(vmware(NAMES, SIZE), "ovf:/disk/", "disk/")).disks == draft(vmware(NAMES, SIZE)).disks


def test_no_nvme_beside_ide() -> None:
    data = vmware(NAMES, SIZE, firmware="bios")
    data = changed(data, SCSI, "<rasd:ResourceSubType>vmware.nvme.controller</rasd:ResourceSubType>")
    second = "<rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource><rasd:InstanceID>8</rasd:InstanceID>"
    guest = draft(
        changed(
            " ".join(data.decode().split()).replace("> <", "><").encode(),
            f"{second}<rasd:Parent>3<",
            f"{second}<rasd:Parent>4<",
        )
    )
    assert [disk.bus for disk in guest.disks] == ["sata", "ide"]
    assert guest.profile == "legacy"
    assert any("NVMe" in note for note in guest.notes)


@pytest.mark.parametrize(
    ("address", "mac"),
    [
        ("00-50-56-AB-CD-EF", "00:50:56:ab:cd:ef"),
        ("005056ABCDEF", "00:50:56:ab:cd:ef"),
        ("01:50:56:ab:cd:ef", None),  # multicast: no card's
        ("nonsense", None),
        ("", None),
    ],
)
def test_mac_addresses(address: str, mac: str | None) -> None:
    assert draft(changed(vmware(NAMES, SIZE), "00:50:56:ab:cd:ef", address)).nics[1].mac == mac


def test_an_empty_disk_keeps_its_size() -> None:
    guest = draft(changed(vmware(NAMES, SIZE), ' ovf:fileRef="file2"', ""))
    assert guest.disks[1] == DiskDraft(image=None, bus="pvscsi", size=SIZE)


def test_a_disk_of_the_host_is_left_out_in_words() -> None:
    guest = draft(changed(vmware(NAMES, SIZE), "ovf:/disk/vmdisk2", "ovf:/file/file3"))
    assert len(guest.disks) == 1
    assert any("Hard disk 2" in note for note in guest.notes)


def test_more_cpus_than_a_guest_may_have() -> None:
    guest = draft(changed(vmware(NAMES, SIZE), ">4</rasd:VirtualQuantity>", ">400</rasd:VirtualQuantity>"))
    assert guest.cpus == 255
    assert "400 CPUs" in guest.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (">4</rasd:VirtualQuantity>", ">0</rasd:VirtualQuantity>", "'0' CPUs"),
        (">4</rasd:VirtualQuantity>", f">{'9' * 5000}</rasd:VirtualQuantity>", "CPUs"),
        (">4</rasd:VirtualQuantity>", ">four</rasd:VirtualQuantity>", "'four' CPUs"),
        (">2048</rasd:VirtualQuantity>", ">1</rasd:VirtualQuantity>", "memory"),
        (">2048</rasd:VirtualQuantity>", "></rasd:VirtualQuantity>", "memory"),
        ("<rasd:ResourceType>4<", "<rasd:ResourceType>99<", "how much memory"),
        ("ovf:/disk/vmdisk2", "ovf:/disk/vmdisk9", "vmdisk9"),
        ("<rasd:ResourceType>17<", "<rasd:ResourceType>99<", "no disk"),
    ],
)
def test_hardware_that_makes_no_sense(old: str, new: str, word: str) -> None:
    with pytest.raises(OvfError, match=word):
        draft(changed(vmware(NAMES, SIZE), old, new))
