"""The image store: complete, recognised, or not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flashvisor.api.types import ImageKind
from flashvisor.errors import DigestMismatchError, ImageNotUploadedError, NoSpaceError, NotAnImageError
from flashvisor.guests.domain import DiskFormat
from flashvisor.node.images import ImageStore, Incoming, Library, StoredImage
from sim.nodekit import sha256, uki

RAW = bytes(510) + b"\x55\xaa" + bytes(512)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def put(store: ImageStore, data: bytes) -> StoredImage:
    with store.receive(sha256(data)) as incoming:
        for start in range(0, len(data), 100):
            incoming.write(data[start : start + 100])
        return incoming.finish()


def files(store: ImageStore) -> list[str]:
    return sorted(path.name for path in store.place.iterdir())


def test_an_appliance_is_kept_under_its_digest_and_unpacked_once(store: ImageStore) -> None:
    data = uki(b"the kernel", b"console=ttyS0 quiet\0", initrd=b"the root")
    image = put(store, data)
    assert (image.kind, image.size, image.format) == (ImageKind.APPLIANCE, len(data), None)
    boot = store.boot_files(image.sha256)
    assert boot.kernel.read_bytes() == b"the kernel"
    assert boot.initrd is not None
    assert boot.initrd.read_bytes() == b"the root"
    assert boot.cmdline == "console=ttyS0 quiet"
    before = boot.kernel.stat().st_ino
    assert store.boot_files(image.sha256).kernel.stat().st_ino == before
    assert files(store) == [image.sha256, f"{image.sha256}.boot"]


def test_an_appliance_without_initrd(store: ImageStore) -> None:
    assert store.boot_files(put(store, uki()).sha256).initrd is None


@pytest.mark.parametrize("data", [RAW, bytes(512) + b"EFI PART" + bytes(500)])
def test_a_raw_disk_is_known_by_its_partition_table(store: ImageStore, data: bytes) -> None:
    image = put(store, data)
    assert (image.kind, image.format) == (ImageKind.DISK, DiskFormat.RAW)
    with pytest.raises(NotAnImageError, match="no appliance"):
        store.boot_files(image.sha256)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(4096), b"MZ" + bytes(600), uki().replace(b".linux", b".other")])
def test_anything_else_is_refused_and_not_kept(store: ImageStore, data: bytes) -> None:
    with pytest.raises(NotAnImageError):
        put(store, data)
    assert files(store) == []


def test_other_bytes_than_announced_are_not_kept(store: ImageStore) -> None:
    with pytest.raises(DigestMismatchError, match=sha256(RAW)), store.receive(sha256(RAW)) as incoming:
        incoming.write(RAW[:-1])
        incoming.finish()
    assert files(store) == []


def test_an_upload_that_breaks_off_is_not_kept(store: ImageStore) -> None:
    with store.receive(sha256(RAW)) as incoming:
        incoming.write(RAW)
    assert files(store) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63])
def test_a_name_that_is_no_digest_is_refused(store: ImageStore, name: str) -> None:
    with pytest.raises(DigestMismatchError), store.receive(name):
        pass
    assert not store.holds(name)


def test_more_than_fits_is_refused_before_a_byte_is_written(store: ImageStore) -> None:
    with pytest.raises(NoSpaceError), store.receive(sha256(RAW), 1 << 60):
        pass
    assert not store.place.exists()


def test_an_upload_never_takes_the_room_that_guests_need(store: ImageStore, tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(NoSpaceError, match="must stay so") as caught, store.receive(sha256(RAW), free - 1):
        pass
    assert "node show" in caught.value.next_step


def test_a_disk_that_runs_full_while_an_image_comes_in_is_told_as_that(store: ImageStore, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        incoming = Incoming(store, sha256(RAW), full, tmp_path / "part")
        with pytest.raises(NoSpaceError, match="ran full"):
            incoming.write(RAW)


def test_what_a_cut_of_power_left_is_swept_and_nothing_else(store: ImageStore) -> None:
    image = put(store, RAW)
    (store.place / ".part-old").write_bytes(b"half")
    (store.place / ".part-dir").mkdir()
    store.sweep()
    assert files(store) == [image.sha256]


def test_a_library_finds_in_any_store_and_takes_uploads_into_the_first(tmp_path: Path) -> None:
    first, second = ImageStore(tmp_path / "a"), ImageStore(tmp_path / "b")
    put(second, RAW)
    put(first, uki())
    library = Library([first, second])
    assert library.digests() == {sha256(RAW), sha256(uki())}
    assert library.get(sha256(RAW)).path.parent == second.place
    assert library.first is first
    with pytest.raises(ImageNotUploadedError):
        library.get(sha256(b"none"))
