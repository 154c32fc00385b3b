"""A release that this server could not live with is refused, and the device is named."""

from __future__ import annotations

import msgspec
import pytest

from flashvisor import errors
from flashvisor.api.types import FailedReport
from flashvisor.host.devices import Device
from flashvisor.model.release import Flavour
from flashvisor.model.slot import IMAGE_LIMIT
from flashvisor.node.fakeslots import FakeSlots
from flashvisor.node.preflight import Running, admit, check, is_running, lost_devices, words
from sim.reposim import image_of, manifest_of

CARD = Device("pci0000:00/0000:00:1f.6", "pci:v00008086d000015BCsv00001028sd00000869bc02sc00i00", "e1000e", ("net",))
PLAIN_CARD = Device("pci0000:00/0000:00:1f.6", CARD.modalias, "e1000e")
DISK = Device("pci0000:00/0000:01:00.0", "pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02", "nvme", ("nvme",))
BRIDGE = Device("pci0000:00/0000:00:01.0", "pci:v00008086d00001901sv00001028sd00000869bc06sc04i00", "pcieport")
E1000E, NVME = "pci:v00008086d000015BCsv*sd*bc*sc*i*", "pci:v*d*sv*sd*bc01sc08i02*"
IMAGE = image_of("image")
MANIFEST = manifest_of(IMAGE, "1.1", modaliases=(E1000E, NVME))
RUNNING = Running(Flavour.KVM, modaliases=(E1000E, NVME), devices=(BRIDGE, CARD, DISK))


@pytest.mark.parametrize(
    ("offered", "lost"),
    [
        ((E1000E, NVME), ()),
        ((NVME,), (CARD,)),
        ((), (CARD, DISK)),
        (("pci:v00008086d*sv*sd*bc02sc*i*", "pci:v*d*sv*sd*bc01sc08i*"), ()),  # other patterns, the same devices
        (("pci:V00008086d000015BCsv*sd*bc*sc*i*", NVME), (CARD,)),  # case counts
    ],
)
def test_devices_that_only_the_running_image_drives_are_lost(
    offered: tuple[str, ...], lost: tuple[Device, ...]
) -> None:
    assert lost_devices(offered, RUNNING) == lost


def test_a_device_that_the_running_image_drives_without_listing_it_blocks_nothing() -> None:
    assert BRIDGE not in lost_devices((), RUNNING)
    assert lost_devices((), Running(Flavour.KVM, devices=(CARD,))) == ()


def test_the_device_is_named_in_words() -> None:
    with pytest.raises(errors.MissingDriverError) as caught:
        check(manifest_of(IMAGE, "1.1", modaliases=(NVME,)), RUNNING, asked=None)
    assert caught.value.what == (
        f"release flashvisor 1.1 has no driver for network card 0000:00:1f.6 ({CARD.modalias}, driver e1000e)"
    )
    assert caught.value.evidence == CARD.modalias


def test_of_many_devices_some_are_named_and_the_rest_counted() -> None:
    many = tuple(Device(f"x/{n}", f"usb:v{n:04}", "u") for n in range(11))
    running = Running(Flavour.KVM, modaliases=("usb:v*",), devices=many)
    with pytest.raises(errors.MissingDriverError, match=r"driver u\) and 3 more\n") as caught:
        check(MANIFEST, running, asked=None)
    assert len(caught.value.evidence.splitlines()) == 11


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        (CARD, "network card 0000:00:1f.6"),
        (PLAIN_CARD, "network card 0000:00:1f.6"),
        (DISK, "NVMe disk 0000:01:00.0"),
        (BRIDGE, "bridge 0000:00:01.0"),
        (Device("a/usb1", "usb:v1D6Bp0003d0612dc09dsc00dp03ic08isc00ip00in00", "usb-storage"), "USB storage usb1"),
        (Device("a/virtio1", "virtio:d00000002v00001AF4", "virtio_blk"), "disk virtio1"),
        (Device("a/i2c-0", "i2c:jc42", "jc42"), "i2c device i2c-0"),
    ],
)
def test_what_a_device_is_called(device: Device, kind: str) -> None:
    assert words(device) == f"{kind} ({device.modalias}, driver {device.driver})"


@pytest.mark.parametrize(
    ("offered", "running", "asked", "fits"),
    [
        (Flavour.KVM, Flavour.KVM, None, True),
        (Flavour.XEN, Flavour.KVM, None, False),
        (Flavour.XEN, Flavour.KVM, Flavour.XEN, True),
        (Flavour.KVM, Flavour.KVM, Flavour.XEN, False),
        (Flavour.KVM, None, None, False),
        (Flavour.KVM, None, Flavour.KVM, True),
    ],
)
def test_another_flavour_only_if_asked(
    offered: Flavour, running: Flavour | None, asked: Flavour | None, fits: bool
) -> None:
    manifest = msgspec.structs.replace(MANIFEST, flavour=offered)
    if fits:
        check(manifest, Running(running), asked=asked)
        return
    with pytest.raises(errors.OtherFlavourError, match=offered.value):
        check(manifest, Running(running), asked=asked)


@pytest.mark.parametrize(("length", "fits"), [(IMAGE_LIMIT - 1, True), (IMAGE_LIMIT, False)])
def test_an_image_must_be_smaller_than_a_slot(length: int, fits: bool) -> None:
    manifest = msgspec.structs.replace(MANIFEST, length=length)
    if fits:
        check(manifest, RUNNING, asked=None)
        return
    with pytest.raises(errors.ImageTooLargeError, match="32,000,000"):
        check(manifest, RUNNING, asked=None)


def test_what_failed_before_is_not_downloaded_again_unless_forced() -> None:
    row = FailedReport(image=MANIFEST.sha256, version="1.1", reason="guest web was silent", when=1.0)
    report = FakeSlots(failed=[row]).report()
    with pytest.raises(errors.ReleaseFailedBeforeError, match="guest web was silent"):
        admit(MANIFEST, report, force=False)
    admit(MANIFEST, report, force=True)
    admit(manifest_of(image_of("other"), "1.2"), report, force=False)


def test_nothing_is_downloaded_while_a_release_is_on_trial() -> None:
    report = msgspec.structs.replace(FakeSlots().report(), trial="b")
    with pytest.raises(errors.SlotBusyError, match="slot b is on trial"):
        admit(MANIFEST, report, force=True)


def test_what_runs_and_is_committed_needs_no_update() -> None:
    slots = FakeSlots(IMAGE, "1.1")
    assert is_running(MANIFEST, slots.report())
    assert not is_running(manifest_of(image_of("other"), "1.2"), slots.report())
    assert not is_running(MANIFEST, msgspec.structs.replace(slots.report(), committed="b"))
