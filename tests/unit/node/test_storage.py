"""Which disk is taken, and which is never touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.errors import ForeignDataError, NoDataDiskError
from flashvisor.host.blkid import Signature
from flashvisor.model.site import Storage
from flashvisor.node.fakemachine import blank_disk
from flashvisor.node.storage import find_disk, kind_of, needs_format, storage_label, use_of

DISK = blank_disk("data0")
OTHER = blank_disk("data1")
OURS = replace(DISK, signature=Signature("ext4", "fv-main"), blank=False)


def test_a_disk_is_found_by_serial_or_by_any_of_its_names() -> None:
    linked = replace(OTHER, names=OTHER.names | {"/dev/disk/by-path/pci-1"})
    assert find_disk("main", Storage(serial="data0"), (DISK, linked)) is DISK
    assert find_disk("main", Storage(device="/dev/disk/by-path/pci-1"), (DISK, linked)) is linked


@pytest.mark.parametrize("disks", [(), (OTHER,), (DISK, replace(OTHER, serial="data0"))])
def test_no_disk_or_two_of_them_is_an_error_that_lists_what_is_there(disks: tuple[object, ...]) -> None:
    with pytest.raises(NoDataDiskError, match="serial data0") as caught:
        find_disk("main", Storage(serial="data0"), disks)  # type: ignore[arg-type]
    assert len(caught.value.evidence.splitlines()) == len(disks)


def test_the_servers_own_flash_is_no_data_disk() -> None:
    with pytest.raises(NoDataDiskError, match="own flash"):
        find_disk("main", Storage(serial="data0"), (replace(DISK, flash=True),))


def test_a_blank_disk_is_formatted_and_ours_is_not() -> None:
    assert needs_format("main", DISK)
    assert not needs_format("main", OURS)
    assert (kind_of(DISK), kind_of(OURS)) == ("ext4", "ext4")


def test_xfs_with_our_label_is_taken_as_it_is() -> None:
    disk = replace(OURS, signature=Signature("xfs", "fv-main"))
    assert not needs_format("main", disk)
    assert (kind_of(disk), use_of(disk)) == ("xfs", "storage main")


@pytest.mark.parametrize(
    "disk",
    [
        replace(DISK, blank=False),
        replace(DISK, signature=Signature("ext4", "photos"), blank=False),
        replace(DISK, signature=Signature("gpt"), blank=False),
        # Something is recognised though the ends are zeros: the probe is believed.
        replace(DISK, signature=Signature("zfs_member"), blank=True),
        replace(DISK, signature=Signature("ext4", "fv-other"), blank=False),
        replace(DISK, signature=Signature("xfs", "fv-other"), blank=False),
        replace(DISK, signature=Signature("btrfs", "fv-main"), blank=False),
    ],
)
def test_anything_else_is_foreign(disk: object) -> None:
    with pytest.raises(ForeignDataError, match=r"storage\.main"):
        needs_format("main", disk)  # type: ignore[arg-type]


@given(
    kind=st.sampled_from(["ext4", "ext3", "xfs", "gpt", "dos", "LVM2_member", "linux_raid_member", "crypto_LUKS"]),
    label=st.sampled_from(["", "fv-main", "fv-other", "FV-MAIN", "fv-main ", "main"]),
    blank=st.booleans(),
    signed=st.booleans(),
)
def test_a_disk_is_ours_or_blank_or_never_touched(kind: str, label: str, *, blank: bool, signed: bool) -> None:
    disk = replace(DISK, signature=Signature(kind, label) if signed else None, blank=blank)
    ours = signed and kind in ("ext4", "xfs") and label == "fv-main"
    if ours or (blank and not signed):
        assert needs_format("main", disk) is not ours
    else:
        with pytest.raises(ForeignDataError):
            needs_format("main", disk)


def test_long_names_give_labels_that_fit_and_differ() -> None:
    names = ["a" * 13, "a" * 14, "a" * 15, "a" * 32]
    labels = [storage_label(name) for name in names]
    assert len(set(labels)) == len(names)
    assert all(len(label) <= 16 and label.startswith("fv-") for label in labels)
    assert labels[0] == "fv-" + "a" * 13


@pytest.mark.parametrize(
    ("disk", "use"),
    [
        (DISK, "empty"),
        (OURS, "storage main"),
        (replace(DISK, blank=False), "foreign data"),
        (replace(DISK, flash=True), "flash"),
        (replace(OURS, signature=Signature("ext4", "photos")), "foreign data"),
    ],
)
def test_use_in_plain_words(disk: object, use: str) -> None:
    assert use_of(disk) == use  # type: ignore[arg-type]
