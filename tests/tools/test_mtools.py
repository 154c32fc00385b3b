"""mtools and sgdisk on temporary files, judged by fsck.fat and by sgdisk itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import CommandFailedError
from flashvisor.host import mtools, sgdisk
from flashvisor.host.run import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools
MIB = 1 << 20


def test_versions() -> None:
    assert "mtools" in mtools.version()
    assert "sgdisk" in sgdisk.version()


@pytest.mark.parametrize("size", [MIB, 4 * MIB, 32 * MIB, 64 * MIB])
def test_a_file_system_of_any_size_is_sound(tmp_path: Path, size: int) -> None:
    image = tmp_path / "fat.img"
    files = {"meta-data": b"instance-id: web\n", "EFI/BOOT/BOOTX64.EFI": b"MZ" * 9000, "EFI/readme.txt": b""}
    mtools.make_fat(image, size=size, label="cidata", files=files)
    run(["fsck.fat", "-n", image])
    listed = mtools.list_files(image)
    assert {"meta-data", "EFI/", "EFI/BOOT/", "EFI/BOOT/BOOTX64.EFI", "EFI/readme.txt"} == set(listed)
    for name, content in files.items():
        mtools.read_file(image, name, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == content
    assert run(["blkid", "-p", "-o", "value", "-s", "LABEL", image]).stdout.strip() == "CIDATA"


def test_the_same_arguments_give_the_same_bytes_over_whatever_was_there(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    one, two = tmp_path / "one", tmp_path / "two"
    mtools.make_fat(one, size=2 * MIB, label="SEED", files={"a/b/file with a long name": source})
    two.write_bytes(b"\xff" * 2 * MIB)
    source.touch()
    mtools.make_fat(two, size=2 * MIB, label="seed", files={"a/b/file with a long name": b"content"})
    assert one.read_bytes() == two.read_bytes()
    mtools.make_fat(two, size=2 * MIB, label="seed", files={"a/b/file with a long name": b"content"}, epoch=10**9)
    assert one.read_bytes() != two.read_bytes()


def test_the_rest_of_the_image_is_left_alone(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"\xaa" * 4 * MIB)
    mtools.make_fat(image, offset=MIB, size=2 * MIB, label="X", files={"f": b"1"})
    data = image.read_bytes()
    assert data[:MIB] == data[3 * MIB :] == b"\xaa" * MIB
    assert mtools.list_files(image, offset=MIB) == ("f",)


def test_what_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError):
        mtools.make_fat(tmp_path / "fat.img", size=MIB, label="X", files={"f": bytes(MIB)})
    assert mtools.list_files(tmp_path / "fat.img") in ((), ("f",))
    (tmp_path / "garbage").write_bytes(b"\xee" * MIB)
    with pytest.raises(CommandFailedError):
        mtools.list_files(tmp_path / "garbage")
    with pytest.raises(CommandFailedError):
        mtools.read_file(tmp_path / "fat.img", "absent", tmp_path / "out")


def test_a_wrong_call_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whole sectors"):
        mtools.make_fat(tmp_path / "x", size=MIB + 1, label="X", files={})
    with pytest.raises(ValueError, match="11 at most"):
        mtools.make_fat(tmp_path / "x", size=MIB, label="TWELVE CHARS", files={})


def test_a_table_is_sound_and_a_damaged_one_is_found_out(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(8 * MIB))
    guid = "11111111-1111-4111-8111-111111111111"
    rows = [
        sgdisk.Partition("one", MIB, MIB, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", guid.replace("1", "2")),
        sgdisk.Partition("two", 2 * MIB, 5 * MIB, guid.replace("1", "3"), guid.replace("1", "4")),
    ]
    sgdisk.make_table(disk, guid, rows)
    said = sgdisk.verify_table(disk)
    assert "No problems found" in said
    assert guid in said
    assert [line.split()[:3] for line in said.splitlines() if line.endswith(("one", "two"))] == [
        ["1", "2048", "4095"], ["2", "4096", "14335"],
    ]  # fmt: skip
    info = run(["sgdisk", "--info=2", disk]).stdout
    assert guid.replace("1", "3") in info
    assert guid.replace("1", "4") in info
