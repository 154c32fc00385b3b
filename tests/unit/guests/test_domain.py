"""Domain XML: golden files, and rules that hold for every guest.

After a wanted change: `python tests/unit/guests/golden_specs.py` writes the golden files anew; read their diff.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.guests.domain import Bios, Card, Disk, DiskFormat, DomainSpec, domain_xml
from unit.guests.golden_specs import GOLDEN, SPECS

DEVICES = Path(__file__).parents[3] / "src/flashvisor/image/recipe/qemu-devices.mak"


def tree_of(spec: DomainSpec) -> ET.Element:
    return ET.fromstring(domain_xml(spec))  # noqa: S314 - our own XML


def devices(spec: DomainSpec) -> ET.Element:
    found = tree_of(spec).find("devices")
    assert found is not None
    return found


@pytest.mark.parametrize("name", sorted(SPECS))
def test_matches_its_golden_file(name: str) -> None:
    assert domain_xml(SPECS[name]) == (GOLDEN / f"{name}.xml").read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.xml")} == set(SPECS)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_asks_for_no_daemon_and_no_screen(spec: DomainSpec) -> None:
    tags = {element.tag for element in devices(spec)}
    assert not tags & {"graphics", "video", "tpm", "filesystem", "sound", "redirdev", "hostdev", "channel"}
    assert [element.attrib["model"] for element in devices(spec).iter("controller")] == ["none"]


@pytest.mark.parametrize(
    ("path", "wanted", "config"),
    [
        ("disk/target[@bus='virtio']", 3, "VIRTIO_BLK"),
        ("interface/model[@type='virtio']", 2, "VIRTIO_NET"),
        ("rng[@model='virtio']", 1, "VIRTIO_RNG"),
        ("memballoon[@model='virtio']", 1, "VIRTIO_BALLOON"),
        ("panic[@model='isa']", 1, "PVPANIC_ISA"),
        ("watchdog[@model='itco']", 1, "Q35"),
    ],
)
def test_uses_only_devices_that_our_qemu_has(path: str, wanted: int, config: str) -> None:
    spec = SPECS["uefi-full"]
    kind = path.split("[")[0].split("/")[0]
    assert len(devices(spec).findall(path)) == len(devices(spec).findall(kind)) == wanted
    assert f"CONFIG_{config}=y" in DEVICES.read_text().splitlines()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_agent_alone_restarts_guests(spec: DomainSpec) -> None:
    tree = tree_of(spec)
    assert tree.findtext("on_crash") == "destroy"
    assert tree.findtext("on_poweroff") == "destroy"
    assert tree.findtext("on_reboot") == "restart"


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_guests_belong_to_the_confined_user(spec: DomainSpec) -> None:
    label = tree_of(spec).find("seclabel")
    assert label is not None
    assert label.attrib == {"type": "dynamic", "model": "dac", "relabel": "yes"}


def test_nesting_is_off_unless_wanted() -> None:
    spec = SPECS["kernel"]
    hidden = [item.attrib["name"] for item in tree_of(spec).findall("cpu/feature[@policy='disable']")]
    assert hidden == ["svm", "vmx"]
    assert tree_of(replace(spec, nested=True)).findall("cpu/feature") == []


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.disks])
def test_a_disk_that_fails_pauses_the_guest_whatever_fails(name: str) -> None:
    drivers = devices(SPECS[name]).findall("disk/driver")
    assert drivers
    assert {(each.get("error_policy"), each.get("rerror_policy")) for each in drivers} == {("stop", "stop")}


def test_the_first_disk_starts_and_the_seed_never_does() -> None:
    assert [disk.find("boot") is not None for disk in devices(SPECS["uefi-full"]).iter("disk")] == [True, False, False]
    only_seed = replace(SPECS["uefi-full"], disks=())
    assert [disk.find("boot") for disk in devices(only_seed).iter("disk")] == [None]


@given(st.integers(1, 60))
def test_every_disk_has_its_own_name(count: int) -> None:
    disk = Disk("/d", DiskFormat.RAW)
    spec = replace(SPECS["bios"], disks=(disk,) * count, seed="/s")
    names = [target.attrib["dev"] for target in devices(spec).iterfind("disk/target")]
    assert len(set(names)) == count + 1
    assert all(re.fullmatch(r"vd[a-z]{1,2}", name) for name in names)
    assert names == sorted(names, key=lambda name: (len(name), name))


@given(st.integers(1, 1 << 50))
def test_memory_is_never_rounded_down(memory: int) -> None:
    tree = tree_of(replace(SPECS["bios"], memory=memory))
    size = tree.find("memory")
    assert size is not None
    assert size.attrib == {"unit": "KiB"}
    assert 0 <= int(size.text or "") * 1024 - memory < 1024


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Cn", "Co"]), max_size=40))
def test_text_cannot_leave_its_place(text: str) -> None:
    spec = DomainSpec(
        name="a",
        uuid=uuid.UUID(int=1),
        memory=1 << 26,
        cpus=1,
        boot=Bios(),
        console_socket=f"/run/{text}",
        title=text,
    )
    tree = tree_of(spec)
    assert tree.findtext("title", default="") == text
    source = tree.find("devices/serial/source")
    assert source is not None
    assert source.attrib["path"] == f"/run/{text}"


def test_a_guest_that_is_kept_stays_with_libvirt_when_it_crashes() -> None:
    assert tree_of(replace(SPECS["bios"], keep=True)).findtext("on_crash") == "preserve"


def test_only_who_asks_for_it_has_a_channel_to_its_agent() -> None:
    spec = replace(SPECS["bios"], agent=True)
    (channel,) = devices(spec).findall("channel")
    assert channel.attrib == {"type": "unix"}
    (target,) = channel
    assert target.attrib == {"type": "virtio", "name": "org.qemu.guest_agent.0"}
    assert "CONFIG_VIRTIO_SERIAL=y" in DEVICES.read_text()


def vlan_of(card: Card) -> ET.Element | None:
    return devices(replace(next(iter(SPECS.values())), cards=(card,))).find("interface/vlan")


def test_a_card_in_a_vlan_gets_it_without_a_tag() -> None:
    assert vlan_of(Card("ub-lan", "52:54:00:00:00:01", "tap-a-0")) is None
    found = vlan_of(Card("ub-lan", "52:54:00:00:00:01", "tap-a-0", vlan=20))
    assert found is not None
    assert (found.attrib, [tag.attrib for tag in found]) == ({}, [{"id": "20"}])


@pytest.mark.parametrize(("own", "native"), [(None, "1"), (20, "20")])
def test_a_trunk_has_its_own_network_untagged_and_the_others_with_tags(own: int | None, native: str) -> None:
    found = vlan_of(Card("ub-lan", "52:54:00:00:00:01", "tap-a-0", vlan=own, trunk=(30, 40)))
    assert found is not None
    assert found.attrib == {"trunk": "yes"}
    tags = [tag.attrib for tag in found]
    assert tags == [{"id": native, "nativeMode": "untagged"}, {"id": "30"}, {"id": "40"}]
