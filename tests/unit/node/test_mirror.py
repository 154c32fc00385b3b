"""A mirror's disks: which are halves, which become one, and which are never touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.errors import ForeignDataError, NoDataDiskError
from flashvisor.host.blkid import Signature
from flashvisor.node.fakemachine import blank_disk
from flashvisor.node.mirror import find_mirror
from flashvisor.node.storage import DataDisk, use_of

A, B = blank_disk("A"), blank_disk("B")
BOTH = ("A", "B")


def half(disk: DataDisk, label: str = "any:fv-main") -> DataDisk:
    return replace(disk, signature=Signature("linux_raid_member", label), blank=False)


def test_two_blank_disks_become_a_mirror() -> None:
    found = find_mirror("main", BOTH, (A, B, blank_disk("C")))
    assert (found.blanks, found.members, found.missing, found.is_new) == ((A, B), (), (), True)
    assert found.label == "fv-main"


def test_a_mirror_is_known_again_with_whatever_is_left_of_it() -> None:
    found = find_mirror("main", BOTH, (half(A), half(B, "fv-main")))
    assert (len(found.members), found.is_new) == (2, False)
    alone = find_mirror("main", BOTH, (half(B),))
    assert (alone.members, alone.missing) == ((half(B),), ("A",))
    mended = find_mirror("main", BOTH, (A, half(B)))
    assert (mended.members, mended.blanks, mended.is_new) == ((half(B),), (A,), False)


@pytest.mark.parametrize("disks", [(), (A,), (A, B, replace(B, device="/dev/other")), (A, replace(B, flash=True))])
def test_a_new_mirror_needs_both_of_its_disks(disks: tuple[DataDisk, ...]) -> None:
    with pytest.raises(NoDataDiskError):
        find_mirror("main", BOTH, disks)


def test_what_node_show_says_of_a_half() -> None:
    assert use_of(half(A)) == "storage main, half of a mirror"
    assert use_of(half(A, "nas:0")) == "foreign data"


@given(
    kind=st.sampled_from(["linux_raid_member", "ext4", "xfs", "gpt", "LVM2_member", "ddf_raid_member"]),
    label=st.sampled_from(["", "fv-main", "any:fv-main", "nas:fv-other", "fv-other", "main"]),
    blank=st.booleans(),
    signed=st.booleans(),
)
def test_a_disk_is_a_half_or_blank_or_never_touched(kind: str, label: str, *, blank: bool, signed: bool) -> None:
    disk = replace(A, signature=Signature(kind, label) if signed else None, blank=blank)
    ours = signed and kind == "linux_raid_member" and label in ("fv-main", "any:fv-main")
    if ours or (blank and not signed):
        found = find_mirror("main", BOTH, (disk, half(B)))
        assert (disk in found.members, disk in found.blanks) == (ours, not ours)
    else:
        with pytest.raises(ForeignDataError, match=r"storage\.main: /dev/fake-A holds"):
            find_mirror("main", BOTH, (disk, half(B)))
