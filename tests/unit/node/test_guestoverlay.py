"""A guest's own initramfs: made once, made anew when anything changes, gone when it is not wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.guests.overlay import appended
from flashvisor.node.guestoverlay import with_files
from flashvisor.node.images import BootFiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def boot(tmp_path: Path) -> BootFiles:
    initrd = tmp_path / "image/initrd"
    initrd.parent.mkdir()
    initrd.write_bytes(b"packed")
    return BootFiles(kernel=tmp_path / "image/linux", initrd=initrd, cmdline="quiet")


def own(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir(exist_ok=True)
    return tmp_path / "own"


def test_files_stand_behind_the_appliances_own(boot: BootFiles, tmp_path: Path) -> None:
    made = with_files(boot, {"/a": "1"}, own(tmp_path))
    assert made.initrd is not None
    assert made.initrd.read_bytes() == b"packed" + appended(6, {"/a": "1"})
    assert made.initrd.stat().st_mode & 0o777 == 0o644
    assert (made.kernel, made.cmdline) == (boot.kernel, boot.cmdline)
    assert boot.initrd is not None
    assert boot.initrd.read_bytes() == b"packed"


def test_it_is_made_once(boot: BootFiles, tmp_path: Path) -> None:
    first = with_files(boot, {"/a": "1"}, own(tmp_path)).initrd
    assert first is not None
    before = first.stat().st_ino
    assert with_files(boot, {"/a": "1"}, own(tmp_path)).initrd == first
    assert first.stat().st_ino == before


def test_other_files_make_another_and_take_the_old_one_away(boot: BootFiles, tmp_path: Path) -> None:
    first = with_files(boot, {"/a": "1"}, own(tmp_path)).initrd
    second = with_files(boot, {"/a": "2"}, own(tmp_path)).initrd
    assert first != second
    assert list(own(tmp_path).iterdir()) == [second]


def test_what_a_cut_of_power_left_is_taken_away(boot: BootFiles, tmp_path: Path) -> None:
    (own(tmp_path) / ".initrd-0123456789ab.x7k2").write_bytes(b"pack")
    made = with_files(boot, {"/a": "1"}, own(tmp_path)).initrd
    assert list(own(tmp_path).iterdir()) == [made]


def test_another_image_makes_another(boot: BootFiles, tmp_path: Path) -> None:
    first = with_files(boot, {"/a": "1"}, own(tmp_path)).initrd
    other = tmp_path / "other"
    other.write_bytes(b"newer!")
    newer = BootFiles(kernel=boot.kernel, initrd=other, cmdline="quiet")
    second = with_files(newer, {"/a": "1"}, own(tmp_path)).initrd
    assert second is not None
    assert second != first
    assert second.read_bytes().startswith(b"newer!")


def test_without_files_the_appliances_own_is_used(boot: BootFiles, tmp_path: Path) -> None:
    with_files(boot, {"/a": "1"}, own(tmp_path))
    assert with_files(boot, {}, own(tmp_path)) == boot
    assert list(own(tmp_path).iterdir()) == []


def test_an_appliance_without_a_root_of_its_own_gets_the_files_alone(boot: BootFiles, tmp_path: Path) -> None:
    bare = BootFiles(kernel=boot.kernel, initrd=None, cmdline="")
    made = with_files(bare, {"/init": "x"}, own(tmp_path)).initrd
    assert made is not None
    assert made.read_bytes() == appended(0, {"/init": "x"})
