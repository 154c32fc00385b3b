"""What is in the finished file: opened as a stranger would open it, and held to the rules.

The bad image at the end shows that each rule sees what it looks for in a real file, and not only in a listing.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import NotAnImageError, StrangeImageError
from flashvisor.host import cpio
from flashvisor.host.bubblewrap import enter
from flashvisor.image.inspect import INITRD, ROOT, ImageFile, files_of, violations
from flashvisor.image.trees import build_root
from flashvisor.image.workshop import EPOCH

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.build import BuildResult

pytestmark = pytest.mark.tools

HEADERS = 0x200  # bytes before the section's


@pytest.fixture(scope="module")
def tree() -> Path:
    return build_root(open_cache())


@pytest.fixture(scope="module")
def files(built_image: BuildResult, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ImageFile]:
    return files_of(built_image.efi, tmp_path_factory.mktemp("opened"), tree)


def test_nothing_in_the_image_breaks_a_rule(files: list[ImageFile]) -> None:
    assert violations(files) == []


def test_the_initramfs_holds_the_first_program_and_the_root_only(files: list[ImageFile]) -> None:
    assert sorted(file.path for file in files if file.place == "initramfs") == ["/init", f"/{ROOT}"]


def test_the_root_is_the_one_that_was_planned(files: list[ImageFile], built_image: BuildResult) -> None:
    """So that the rules above were not kept by a root that is not there."""
    found = {file.path for file in files if file.place == "root" and not stat.S_ISDIR(file.mode)}
    assert found == {entry.path for entry in built_image.entries if entry.source or entry.target}
    assert "/usr/lib/systemd/systemd" in found


# --- images that are wrong on purpose -----------------------------------------------------------------------


def minimal_pe(name: str, content: bytes) -> bytes:
    """A PE file with one section (Microsoft PE Format; no code, no optional header)."""
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 0, 0x22E)
    entry = struct.pack("<8sIIIIIIHHI", name.encode(), len(content), 0x1000, len(content), HEADERS, 0, 0, 0, 0, 0x40)
    return (dos + coff + entry).ljust(HEADERS, b"\0") + content


def pack(tree: Path, work: Path) -> Path:
    """Makes `work/root` the root of an image. Keeps owners and modes, unlike the build."""
    (work / "initrd").mkdir()
    enter(tree, ["mksquashfs", "/mnt/root", f"/mnt/initrd/{ROOT}", "-quiet", "-no-progress"], binds={work: "/mnt"})
    (work / "initrd/init").write_bytes(b"\x7fELF")
    for name in ("init", ROOT):
        (work / "initrd" / name).chmod(0o755)
    cpio.pack(tree, work, "initrd", "made.cpio", epoch=EPOCH)
    return seal(work, (work / "made.cpio").read_bytes())


def seal(work: Path, initrd: bytes, section: str = INITRD) -> Path:
    efi = work / "made.efi"
    efi.write_bytes(minimal_pe(section, initrd))
    return efi


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with a root that breaks no rule."""
    programs = tmp_path / "root/usr/bin"
    programs.mkdir(parents=True)
    (tmp_path / "root/bin").symlink_to("usr/bin")
    (programs / "hello").write_bytes(b"\x7fELF, and no more")
    for path in (tmp_path / "root", tmp_path / "root/usr", programs, programs / "hello"):
        path.chmod(0o755)
    return tmp_path


def opened(efi: Path, work: Path, tree: Path) -> list[ImageFile]:
    (work / "opened").mkdir()
    return files_of(efi, work / "opened", tree)


def test_a_small_good_image_passes(work: Path, tree: Path) -> None:
    files = opened(pack(tree, work), work, tree)
    assert violations(files) == []
    links = {file.path: file.target for file in files if file.target}
    assert links == {"/bin": "usr/bin"}
    assert "/usr/bin/hello" in {file.path for file in files}


def test_a_bad_image_is_caught_at_every_point(work: Path, tree: Path) -> None:
    programs = work / "root/usr/bin"
    shutil.copy(tree / "usr/bin/dash", programs / "clock")
    shutil.copy(programs / "hello", programs / "sshd")
    (programs / "sh").symlink_to("clock")
    (programs / "tool").write_bytes(b"#! /usr/bin/python3 -B\nprint()\n")
    (programs / "raise").write_bytes(b"\x7fELF")
    (work / "root/notes").write_bytes(b"")
    (work / "root/notes").chmod(0o666)
    for name in ("clock", "sshd", "tool"):
        (programs / name).chmod(0o755)
    (programs / "raise").chmod(0o4755)
    os.chown(work / "root/usr", 12, 34)
    (work / "root/usr").chmod(0o755)
    assert sorted(violations(opened(pack(tree, work), work, tree))) == [
        "root:/notes can be written by others than root: mode 0666",
        "root:/usr belongs to 12:34, not to root",
        "root:/usr/bin/clock is a shell, whatever its name",
        "root:/usr/bin/raise is setuid or setgid: mode 4755",
        "root:/usr/bin/sh has the name of a shell",
        "root:/usr/bin/sshd has the name of SSH",
        "root:/usr/bin/tool is a script for /usr/bin/python3 -B",
    ]


def test_a_second_archive_behind_the_first_is_not_overlooked(work: Path, tree: Path) -> None:
    pack(tree, work)
    archive = (work / "made.cpio").read_bytes()
    with pytest.raises(StrangeImageError, match="stand behind the end"):
        opened(seal(work, archive + archive), work, tree)


def test_an_image_without_an_initramfs_is_refused(work: Path, tree: Path) -> None:
    with pytest.raises(StrangeImageError, match=r"has no section \.initrd"):
        opened(seal(work, b"x", section=".other"), work, tree)


def test_an_initramfs_without_a_root_is_refused(work: Path, tree: Path) -> None:
    cpio.pack(tree, work, "root", "made.cpio", epoch=EPOCH)
    with pytest.raises(StrangeImageError, match=rf"has no {ROOT}"):
        opened(seal(work, (work / "made.cpio").read_bytes()), work, tree)


def test_what_is_no_efi_file_is_refused(work: Path, tree: Path) -> None:
    (work / "made.efi").write_bytes(b"#!/bin/sh\n" + bytes(100))
    with pytest.raises(NotAnImageError):
        opened(work / "made.efi", work, tree)
