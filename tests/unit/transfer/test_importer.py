"""Imports as a whole, with a qemu-img that copies: names, records, going on after an end, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import (
    CommandLineError,
    DamagedImageError,
    ExplodingImageError,
    LeaningImageError,
    ManifestError,
    MissingDiskError,
    NoSpaceError,
    UnknownFormatError,
    UnknownNameError,
    UnreadableFileError,
    WrongChecksumError,
)
from flashvisor.host import jailed_qemu_img
from flashvisor.transfer import expand as expand_module
from flashvisor.transfer import importer
from flashvisor.transfer.importer import Order, import_source
from flashvisor.transfer.library import WORK, Library
from sim.appliances import manifest, virtualbox, vmware, write_tar
from sim.importkit import NOW, SECTOR, Copier, raw_disk, unseen

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.transfer.draft import ImportRecord

ONE, TWO = raw_disk(b"one"), raw_disk(b"two")
SIZE = 1 << 20  # bytes that descriptors declare


@pytest.fixture
def copier(monkeypatch: pytest.MonkeyPatch) -> Copier:
    copier = Copier()
    for name in ("info", "check", "convert"):
        monkeypatch.setattr(jailed_qemu_img, name, getattr(copier, name))
    monkeypatch.setattr(expand_module, "RESERVE", 0)
    return copier


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "images")


def bring(library: Library, source: Path | str, **wish: object) -> tuple[ImportRecord, bool]:
    return import_source(Order(str(source), **wish), library, unseen, NOW)  # type: ignore[arg-type]


def ova(path: Path, *, name: str = "one.raw", two: bytes = TWO) -> Path:
    members = {"web.ovf": vmware(["one.raw", "two.raw"], SIZE), name: ONE, "two.raw": TWO}
    return write_tar(path, {**members, "web.mf": manifest(members), "two.raw": two})


def files(library: Library) -> list[str]:
    return sorted(path.name for path in library.place.iterdir()) if library.place.exists() else []


def test_a_disk(tmp_path: Path, library: Library, copier: Copier) -> None:
    (tmp_path / "My Disk.img").write_bytes(ONE)
    record, made = bring(library, tmp_path / "My Disk.img")
    key = hashlib.sha256(ONE).hexdigest()[:12]
    assert made
    assert record.name == f"my-disk-{key}"
    assert record.source == "My Disk.img"
    (image,) = record.images
    assert (image.format, image.virtual_size, image.size) == ("raw", 64 * SECTOR, len(ONE))
    assert image.sha256 == hashlib.sha256(ONE).hexdigest()
    assert library.file(image).read_bytes() == ONE
    assert files(library) == [f"my-disk-{key}.json", f"my-disk-{key}.qcow2"]
    assert library.records() == [record]
    assert copier.converted == ["My Disk.img"]


def test_the_same_source_twice_is_no_work(tmp_path: Path, library: Library, copier: Copier) -> None:
    for name in ("a.img", "b.img"):
        (tmp_path / name).write_bytes(ONE)
    first, _ = bring(library, tmp_path / "a.img")
    again, made = bring(library, tmp_path / "b.img", name="other")
    assert (again, made) == (first, False)
    assert len(copier.converted) == 1


def test_an_image_that_is_gone_is_made_again(tmp_path: Path, library: Library, copier: Copier) -> None:
    (tmp_path / "a.img").write_bytes(ONE)
    record, _ = bring(library, tmp_path / "a.img")
    library.file(record.images[0]).write_bytes(b"cut")
    assert bring(library, tmp_path / "a.img") == (record, True)
    assert library.file(record.images[0]).read_bytes() == ONE
    assert len(copier.converted) == 2


def test_a_compressed_disk(tmp_path: Path, library: Library, copier: Copier) -> None:
    (tmp_path / "a.raw.gz").write_bytes(gzip.compress(ONE))
    record, _ = bring(library, tmp_path / "a.raw.gz")
    assert record.source_format == "gzip"
    assert record.images[0].format == "raw"
    assert library.file(record.images[0]).read_bytes() == ONE
    assert copier.converted == ["unpacked"]


def test_an_appliance(tmp_path: Path, library: Library, copier: Copier) -> None:
    record, _ = bring(library, ova(tmp_path / "web.ova"))
    assert [image.name for image in record.images] == ["web-server-1", "web-server-1-disk2"]
    assert [library.file(image).read_bytes() for image in record.images] == [ONE, TWO]
    assert [image.member for image in record.images] == ["one.raw", "two.raw"]
    (guest,) = record.guests
    assert [disk.image for disk in guest.disks] == ["web-server-1", "web-server-1-disk2"]
    assert {disk.size for disk in guest.disks} == {SIZE}, "the descriptor says more than the image has"
    assert len(copier.converted) == 2


def test_a_descriptor_with_its_files_beside_it(tmp_path: Path, library: Library, copier: Copier) -> None:
    copier.virtual_size = SIZE
    (tmp_path / "m.ovf").write_bytes(virtualbox(["1.raw", "2.raw"], SIZE))
    for name in ("1.raw", "2.raw"):
        (tmp_path / name).write_bytes(raw_disk(name.encode(), SIZE))
    record, _ = bring(library, tmp_path / "m.ovf", name="post")
    assert record.name.startswith("post-")
    assert {disk.size for disk in record.guests[0].disks} == {None}, "the image's own size needs no word"
    assert bring(library, tmp_path / "m.ovf") == (record, False)
    (tmp_path / "2.raw").write_bytes(raw_disk(b"other", SIZE))
    other, made = bring(library, tmp_path / "m.ovf")
    assert made, "a disk beside the descriptor is a part of the source"
    assert other.source_sha256 != record.source_sha256


def test_an_import_that_was_cut_goes_on(tmp_path: Path, library: Library, copier: Copier) -> None:
    """The first disk is finished, the second half done, when the process is gone."""
    path = ova(tmp_path / "web.ova")
    real = copier.convert

    def convert(*words: object, **more: object) -> None:
        if copier.converted:
            copier.fail.append(KeyboardInterrupt())
        real(*words, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jailed_qemu_img, "convert", convert)
        with pytest.raises(KeyboardInterrupt):
            bring(library, path)
    assert files(library) == [WORK], "no half file, and no whole one, under a final name"
    record, made = bring(library, path)
    assert made
    assert len(copier.converted) == 2, "the first disk was not converted again"
    assert [library.file(image).read_bytes() for image in record.images] == [ONE, TWO]
    assert WORK not in files(library)


def test_a_full_disk_keeps_what_was_done_and_a_hostile_source_leaves_nothing(
    tmp_path: Path, library: Library, copier: Copier
) -> None:
    path = ova(tmp_path / "web.ova")
    copier.fail = [NoSpaceError("full")]
    with pytest.raises(NoSpaceError):
        bring(library, path)
    assert files(library) == [WORK]
    copier.fail = [ExplodingImageError("boom")]
    with pytest.raises(ExplodingImageError):
        bring(library, path)
    assert files(library) == []


def test_two_imports_at_once_make_one(tmp_path: Path, library: Library, copier: Copier) -> None:
    path = ova(tmp_path / "web.ova")
    results: list[tuple[ImportRecord, bool]] = []
    threads = [threading.Thread(target=lambda: results.append(bring(library, path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made for _, made in results) == [False, False, False, True]
    assert len({record.name for record, _ in results}) == 1
    assert len(copier.converted) == 2
    assert WORK not in files(library)


def test_what_is_refused_leaves_nothing(tmp_path: Path, library: Library, copier: Copier) -> None:
    del copier
    qcow2 = b"QFI\xfb\0\0\0\x03" + (1024).to_bytes(8, "big") + bytes(200)
    cases = [
        (ova(tmp_path / "a.ova", two=b"changed"), ManifestError),
        (ova(tmp_path / "b.ova", name="else.raw"), MissingDiskError),
        (write_tar(tmp_path / "c.ova", {"w.ovf": vmware(["x", "y"], SIZE), "x": qcow2, "y": TWO}), LeaningImageError),
        (
            write_tar(tmp_path / "d.ova", {"w.ovf": vmware(["x", "y"], SIZE), "x": b"<html>", "y": TWO}),
            UnknownFormatError,
        ),
        (tmp_path / "none", UnreadableFileError),
    ]
    for path, error in cases:
        with pytest.raises(error):
            bring(library, path)
        assert files(library) == []


def test_a_disk_larger_than_its_descriptor_says(tmp_path: Path, library: Library, copier: Copier) -> None:
    del copier
    huge = b"QFI\xfb\0\0\0\x03" + bytes(12) + (16).to_bytes(4, "big") + (1 << 40).to_bytes(8, "big") + bytes(200)
    members = {"w.ovf": vmware(["x", "y"], SIZE), "x": huge, "y": TWO}
    path = write_tar(tmp_path / "w.ova", members)
    with pytest.raises(ExplodingImageError, match="1 TiB"):
        bring(library, path)
    record, _ = bring(library, path, capacity=1 << 40)
    assert len(record.images) == 2, "its owner knows better"


def test_a_disk_that_is_larger_to_qemu_than_to_us(tmp_path: Path, library: Library, copier: Copier) -> None:
    """What was checked against a declared size is ours; what would be written is QEMU's."""
    (tmp_path / "a.img").write_bytes(ONE)
    copier.virtual_size = len(ONE) + SECTOR
    with pytest.raises(DamagedImageError, match="one size"):
        bring(library, tmp_path / "a.img")
    assert files(library) == []


def test_a_file_whose_name_is_no_text(tmp_path: Path, library: Library, copier: Copier) -> None:
    path = tmp_path / os.fsdecode(b"b\xff.img")
    path.write_bytes(ONE)
    record, _ = bring(library, path)
    assert (record.source, record.images[0].member) == ("b?.img", "b?.img")
    assert len(copier.converted) == 1


def test_a_checksum_that_was_given(tmp_path: Path, library: Library, copier: Copier) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(ONE)
    with pytest.raises(WrongChecksumError):
        bring(library, path, sha256="0" * 64)
    assert not copier.converted
    assert bring(library, path, sha256=hashlib.sha256(ONE).hexdigest())[1]


def test_a_url(tmp_path: Path, library: Library, copier: Copier, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def download(url: str, target: Path, sha256: str, watch: object) -> None:
        del sha256, watch
        fetched.append(url)
        target.write_bytes(ONE)

    monkeypatch.setattr(importer, "download", download)
    url, sha256 = "https://user:secret@example.com/My%20Disk.img?x=1", hashlib.sha256(ONE).hexdigest()
    with pytest.raises(CommandLineError, match="--sha256"):
        bring(library, url)
    record, made = bring(library, url, sha256=sha256)
    assert made
    assert record.source == "https://example.com/My%20Disk.img"
    assert record.images[0].name == "my-disk"
    assert record.images[0].member == "My-Disk.img"
    assert WORK not in files(library), "the download is not kept"
    assert bring(library, url, sha256=sha256) == (record, False)
    assert fetched == [url]
    del copier, tmp_path


@pytest.mark.parametrize("url", ["http://[x/y", "http://a:b/c"])
def test_a_url_that_is_none(library: Library, url: str) -> None:
    with pytest.raises(CommandLineError, match="is no URL"):
        bring(library, url, sha256="0" * 64)
    assert files(library) == []


def test_a_url_that_is_refused_leaves_nothing(
    library: Library, copier: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, target: Path, sha256: str, watch: object) -> None:
        del url, sha256, watch
        target.write_bytes(b"<html>")

    monkeypatch.setattr(importer, "download", download)
    with pytest.raises(UnknownFormatError, match=r"x\.img"):
        bring(library, "https://example.com/x.img", sha256="0" * 64)
    assert files(library) == []
    del copier


def test_a_download_is_kept_when_only_the_name_was_wrong(
    tmp_path: Path, library: Library, copier: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = several_machines(tmp_path / "w.ova").read_bytes()
    sha256, url = hashlib.sha256(data).hexdigest(), "https://example.com/w.ova"

    def download(url: str, target: Path, sha256: str, watch: object) -> None:
        del url, sha256, watch
        target.write_bytes(data)

    monkeypatch.setattr(importer, "download", download)
    with pytest.raises(CommandLineError):
        bring(library, url, sha256=sha256, name="x")
    assert [path.name for path in library.place.rglob("*") if path.is_file()] == ["w.ova"]
    assert bring(library, url, sha256=sha256)[1]
    assert WORK not in files(library)
    del copier


def several_machines(path: Path) -> Path:
    text = vmware(["one.raw", "two.raw"], SIZE).decode()
    machine = text[text.index("<VirtualSystem ") : text.index("</VirtualSystem>") + len("</VirtualSystem>")]
    two = text.replace(machine, f"<VirtualSystemCollection>{machine}{machine}</VirtualSystemCollection>")
    return write_tar(path, {"w.ovf": two.encode(), "one.raw": ONE, "two.raw": TWO})


def test_one_name_for_several_machines(tmp_path: Path, library: Library, copier: Copier) -> None:
    path = several_machines(tmp_path / "w.ova")
    with pytest.raises(CommandLineError, match="several"):
        bring(library, path, name="x")
    record, _ = bring(library, path)
    assert [guest.name for guest in record.guests] == ["web-server-1", "web-server-1-2"]
    assert len(record.images) == 2, "machines that share disks share images"
    del copier


def test_names_in_the_library(tmp_path: Path, library: Library, copier: Copier) -> None:
    record, _ = bring(library, ova(tmp_path / "web.ova"))
    for name in (record.name, "web-server-1", "web-server-1-disk2"):
        assert library.named(name) == record
    with pytest.raises(UnknownNameError, match="'x'"):
        library.named("x")
    (tmp_path / "d.img").write_bytes(raw_disk(b"three"))
    bring(library, tmp_path / "d.img", name="web-server-1")
    with pytest.raises(UnknownNameError, match="several"):
        library.named("web-server-1")
    assert library.named(record.name) == record
    del copier


def test_removing(tmp_path: Path, library: Library, copier: Copier) -> None:
    record, _ = bring(library, ova(tmp_path / "web.ova"))
    library.file(record.images[0]).unlink()
    assert library.remove(record) == len(TWO), "a removal that was cut short is finished"
    assert files(library) == []
    del copier


def test_a_record_that_is_none(library: Library) -> None:
    library.place.mkdir()
    (library.place / "x.json").write_text("{}")
    with pytest.raises(UnreadableFileError, match=r"x\.json"):
        library.records()
