"""Imports with the real qemu-img in its sandbox: every foreign format, appliances of all three kinds, bombs, kills."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
import zstandard

from flashvisor.errors import (
    DamagedImageError,
    ExplodingImageError,
    FlashvisorError,
    LeaningImageError,
    SandboxError,
    SplitImageError,
    TruncatedImageError,
    UnreadableFileError,
)
from flashvisor.host import jailed_qemu_img
from flashvisor.host.bubblewrap import jail
from flashvisor.host.run import run
from flashvisor.transfer import conversion
from flashvisor.transfer.draft import ImportRecord
from flashvisor.transfer.export import write_ova
from flashvisor.transfer.importer import Order, import_source
from flashvisor.transfer.inspect import DiskFacts
from flashvisor.transfer.library import WORK, Library
from sim.appliances import manifest, virtualbox, vmware, write_tar, xenserver
from sim.importkit import NOW, unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.tools
PROGRAM = Path(sys.executable).with_name("flashvisor")
LIMIT = 120.0  # seconds
MIB = 1 << 20  # bytes
SIZE = 16 * MIB


def make_disk(seed: int, size: int = SIZE) -> bytes:
    """A disk with a partition over all of it, a marker, noise that nothing packs, and holes."""
    disk = bytearray(size)
    struct.pack_into("<4xB3xII", disk, 446, 0x83, 1, size // 512 - 1)
    disk[510:512] = b"\x55\xaa"
    marker = f"marker {seed}".encode()
    disk[MIB : MIB + len(marker)] = marker
    noise = random.Random(seed).randbytes(300_000)  # noqa: S311 - the same at every run
    disk[5 * MIB : 5 * MIB + len(noise)] = noise
    disk[-len(marker) :] = marker
    return bytes(disk)


DISK = make_disk(1)


def foreign(raw: Path, target: Path, kind: str, *options: str) -> Path:
    """Makes an image in another format."""
    run(["qemu-img", "convert", "-f", "raw", "-O", kind, *options, raw, target])
    return target


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(DISK)
    return path


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "images")


def bring(library: Library, source: Path, **wish: object) -> ImportRecord:
    return import_source(Order(str(source), **wish), library, unseen, NOW)[0]  # type: ignore[arg-type]


def contents(library: Library, record: ImportRecord, tmp_path: Path) -> list[bytes]:
    """What a guest would see of each image, which must be a complete qcow2 image with zstd."""
    found = []
    for image in record.images:
        path = library.file(image)
        info = json.loads(run(["qemu-img", "info", "--output=json", path]).stdout)
        assert info["format"] == "qcow2"
        assert info["format-specific"]["data"]["compression-type"] == "zstd"
        assert "backing-filename" not in info
        assert hashlib.sha256(path.read_bytes()).hexdigest() == image.sha256
        out = tmp_path / "seen"
        run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, out])
        found.append(out.read_bytes())
    return found


FORMATS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "qcow2": ("qcow2", "qcow2", ()),
    "qcow2 of old": ("qcow2", "qcow2", ("-o", "compat=0.10")),
    "qcow2 compressed": ("qcow2", "qcow2", ("-c",)),
    "vmdk": ("vmdk", "vmdk", ()),
    "vmdk streamed": ("vmdk", "vmdk", ("-o", "subformat=streamOptimized")),
    "vhd": ("vhd", "vpc", ("-o", "force_size=on")),
    "vhd fixed": ("vhd", "vpc", ("-o", "subformat=fixed,force_size=on")),
    "vhdx": ("vhdx", "vhdx", ()),
    "vhdx fixed": ("vhdx", "vhdx", ("-o", "subformat=fixed")),
    "vdi": ("vdi", "vdi", ()),
    "vdi static": ("vdi", "vdi", ("-o", "static=on")),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_foreign_format(tmp_path: Path, raw: Path, library: Library, form: str) -> None:
    kind, driver, options = FORMATS[form]
    record = bring(library, foreign(raw, tmp_path / "a.disk", driver, *options))
    assert record.images[0].format == kind
    assert record.images[0].virtual_size == SIZE
    assert contents(library, record, tmp_path) == [DISK]


def test_a_vhd_whose_geometry_is_smaller_than_its_size(tmp_path: Path, raw: Path, library: Library) -> None:
    """As VirtualBox writes them: QEMU would believe the geometry, and cut the disk's end off."""
    path = foreign(raw, tmp_path / "a.vhd", "vpc", "-o", "force_size=on")
    data = bytearray(path.read_bytes())
    for place in (0, len(data) - 512):
        footer = data[place : place + 512]
        footer[28:32] = b"vbox"
        footer[56:60] = struct.pack(">HBB", 200, 4, 17)
        footer[64:68] = bytes(4)
        footer[64:68] = struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
        data[place : place + 512] = footer
    path.write_bytes(data)
    assert contents(library, bring(library, path), tmp_path) == [DISK]


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("kind", ["", *COMPRESS])
def test_raw_disks_as_they_are_and_compressed(tmp_path: Path, library: Library, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(COMPRESS[kind](DISK) if kind else DISK)
    record = bring(library, path)
    assert record.source_format == (kind or "raw")
    assert contents(library, record, tmp_path) == [DISK]
    assert WORK not in {each.name for each in library.place.iterdir()}


def test_a_compressed_qcow2_image(tmp_path: Path, raw: Path, library: Library) -> None:
    path = foreign(raw, tmp_path / "a.qcow2", "qcow2")
    path.write_bytes(lzma.compress(path.read_bytes()))
    assert contents(library, bring(library, path), tmp_path) == [DISK]


APPLIANCES: dict[str, tuple[Callable[..., bytes], str, tuple[str, ...]]] = {
    "vmware": (vmware, "vmdk", ("-o", "subformat=streamOptimized")),
    "virtualbox": (virtualbox, "vmdk", ("-o", "subformat=streamOptimized")),
    "xenserver": (xenserver, "vpc", ("-o", "force_size=on")),
}


def disks_of(tmp_path: Path, driver: str, options: tuple[str, ...]) -> dict[str, bytes]:
    made = {}
    for number in (1, 2):
        (tmp_path / "in.raw").write_bytes(make_disk(number))
        made[f"disk-{number}"] = foreign(tmp_path / "in.raw", tmp_path / "out", driver, *options).read_bytes()
    return made


@pytest.mark.parametrize("maker", APPLIANCES)
@pytest.mark.parametrize("form", ["ova", "ovf"])
def test_an_appliance_with_two_disks_and_two_cards(tmp_path: Path, library: Library, maker: str, form: str) -> None:
    write, driver, options = APPLIANCES[maker]
    disks = disks_of(tmp_path, driver, options)
    members = {"guest.ovf": write(list(disks), SIZE), **disks}
    members["guest.mf"] = manifest(members, "sha1" if maker == "virtualbox" else "sha256")
    path = tmp_path / "guest.ovf"
    if form == "ova":
        path = write_tar(tmp_path / "guest.ova", members)
    else:
        for name, data in members.items():
            (tmp_path / name).write_bytes(data)
    record = bring(library, path)
    assert contents(library, record, tmp_path) == [make_disk(1), make_disk(2)]
    (guest,) = record.guests
    assert len(guest.nics) == 2
    assert [disk.image for disk in guest.disks] == [image.name for image in record.images]
    assert {disk.size for disk in guest.disks} == {None}


def test_a_disk_that_is_compressed_in_its_appliance(tmp_path: Path, library: Library) -> None:
    disks = disks_of(tmp_path, "vmdk", ("-o", "subformat=streamOptimized"))
    disks["disk-2"] = gzip.compress(disks["disk-2"])
    text = vmware(list(disks), SIZE).replace(b'ovf:id="file2"', b'ovf:id="file2" ovf:compression="gzip"')
    record = bring(library, write_tar(tmp_path / "a.ova", {"a.ovf": text, **disks}))
    assert contents(library, record, tmp_path) == [make_disk(1), make_disk(2)]


def test_out_and_in_again(tmp_path: Path, library: Library) -> None:
    """Our own appliances: what was imported is exported, and imported again."""
    disks = disks_of(tmp_path, "qcow2", ())
    record = bring(library, write_tar(tmp_path / "a.ova", {"a.ovf": vmware(list(disks), SIZE), **disks}))
    (guest,) = record.guests
    target = tmp_path / "exports" / "web.ova"
    write_ova(guest, {image.name: library.file(image) for image in record.images}, target, unseen)
    assert [path.name for path in target.parent.iterdir()] == ["web.ova"]
    listed = run(["tar", "--list", "--file", target]).stdout.split()
    assert listed == [f"{guest.name}{end}" for end in (".ovf", ".mf", "-disk1.vmdk", "-disk2.vmdk")]
    again = bring(library, target)
    assert contents(library, again, tmp_path) == [make_disk(1), make_disk(2)]
    assert {image.format for image in again.images} == {"vmdk"}
    assert again.guests[0].nics == guest.nics
    assert (again.guests[0].cpus, again.guests[0].memory) == (guest.cpus, guest.memory)


SECRET = "/etc/hostname"


def test_images_that_name_files_of_this_machine(tmp_path: Path, raw: Path, library: Library) -> None:
    base = foreign(raw, tmp_path / "base.qcow2", "qcow2")
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, tmp_path / "overlay"])
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", tmp_path / "split", "1M"])
    foreign(raw, tmp_path / "flat.vmdk", "vmdk", "-o", "subformat=monolithicFlat")
    foreign(raw, tmp_path / "extents.vmdk", "vmdk", "-o", "subformat=twoGbMaxExtentSparse")
    parent = foreign(raw, tmp_path / "parent.vmdk", "vmdk")
    run(["qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", parent, tmp_path / "child.vmdk"])
    refused: Mapping[str, type[FlashvisorError]] = {
        "overlay": LeaningImageError,
        "split": LeaningImageError,
        "child.vmdk": LeaningImageError,
        "flat.vmdk": SplitImageError,
        "extents.vmdk": SplitImageError,
        "extents-s001.vmdk": SplitImageError,
    }
    for name, error in refused.items():
        with pytest.raises(error):
            bring(library, tmp_path / name)
    text = tmp_path / "hostile.vmdk"
    text.write_text(f'# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 1 FLAT "{SECRET}" 0\n')
    with pytest.raises(SplitImageError):
        bring(library, text)
    assert not library.place.exists() or not list(library.place.iterdir())


def test_the_sandbox_sees_one_file(
    tmp_path: Path, raw: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should our own checks miss a backing file, qemu-img finds nothing behind its name."""
    base = foreign(raw, tmp_path / "base.qcow2", "qcow2")
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, tmp_path / "overlay"])
    monkeypatch.setattr(conversion, "inspect", lambda _region, kind: DiskFacts(kind, SIZE))
    with pytest.raises((LeaningImageError, DamagedImageError)) as caught:
        bring(library, tmp_path / "overlay")
    assert isinstance(caught.value, LeaningImageError) or "base.qcow2" in caught.value.evidence


def test_a_file_that_only_its_owner_may_read(raw: Path, library: Library) -> None:
    os.chown(raw, 12345, 12345)
    raw.chmod(0o600)
    with pytest.raises(UnreadableFileError, match="root is nobody special"):
        bring(library, raw)


def test_a_machine_without_a_sandbox(raw: Path, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**words: object) -> list[str | Path]:
        argv = jail(**words)  # type: ignore[arg-type]
        return [argv[0], "--ro-bind", "/nowhere", "/nowhere", *argv[1:]]

    monkeypatch.setattr(jailed_qemu_img, "jail", broken)
    with pytest.raises(SandboxError) as caught:
        bring(library, raw)
    assert "/nowhere" in caught.value.evidence


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("left", [0.97, 0.9, 0.5])
def test_images_that_break_off(tmp_path: Path, raw: Path, library: Library, form: str, left: float) -> None:
    """Refused, or nothing but padding was missing: never another disk than it was."""
    _, driver, options = FORMATS[form]
    whole = foreign(raw, tmp_path / "whole", driver, *options).read_bytes()
    path = tmp_path / "a.disk"
    path.write_bytes(whole[: int(len(whole) * left)])
    try:
        record = bring(library, path)
    except (TruncatedImageError, DamagedImageError):
        assert not library.place.exists() or not list(library.place.iterdir())
    else:
        assert left > 0.5
        assert contents(library, record, tmp_path) == [DISK]


def test_a_qcow2_image_that_is_one_cluster_many_times(tmp_path: Path, raw: Path, library: Library) -> None:
    """1 GiB of noise in a file of 600 kB: what comes out is stopped by what came in."""
    path = foreign(raw, tmp_path / "a.qcow2", "qcow2", "-o", "cluster_size=65536")
    run(["qemu-img", "resize", "-q", "-f", "qcow2", path, str(1024 * MIB)])
    data = bytearray(path.read_bytes())
    (table,) = struct.unpack_from(">Q", data, 40)
    (first,) = struct.unpack_from(">Q", data, table)
    place = first & 0x00FFFFFFFFFFFE00
    entries = struct.unpack_from(">8192Q", data, place)
    noise = entries[5 * MIB // 65536]
    struct.pack_into(">8192Q", data, place, *([noise] * 8192))
    struct.pack_into(">QQ", data, table, first, first)
    path.write_bytes(data)
    with pytest.raises((ExplodingImageError, DamagedImageError)):
        bring(library, path)
    assert not list(library.place.glob("**/*.qcow2"))


def test_a_vmdk_that_is_one_grain_many_times(tmp_path: Path, library: Library) -> None:
    """1 GiB of noise in a file of some hundred kB, and no table is wrong: the sandbox's limit alone stops it."""
    raw = tmp_path / "disk.raw"
    raw.write_bytes(DISK)
    os.truncate(raw, 1024 * MIB)
    path = foreign(raw, tmp_path / "a.vmdk", "vmdk")
    data = bytearray(path.read_bytes())
    (directory,) = struct.unpack_from("<Q", data, 56)
    (first,) = struct.unpack_from("<I", data, directory * 512)
    noise = struct.unpack_from("<512I", data, first * 512)[5 * MIB // 65536 + 1]
    for table in struct.unpack_from("<32I", data, directory * 512):
        struct.pack_into("<512I", data, table * 512, *([noise] * 512))
    path.write_bytes(data)
    with pytest.raises(ExplodingImageError, match="reached its limit"):
        bring(library, path)
    assert not library.place.exists() or not list(library.place.iterdir())


@pytest.fixture
def site(site_file: Path) -> Path:
    """A site file whose images are beside it."""
    return site_file


def call(place: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the program as a user does."""
    return subprocess.run([PROGRAM, *words], cwd=place, capture_output=True, text=True, timeout=LIMIT, check=False)


def test_the_program(tmp_path: Path, raw: Path, site: Path) -> None:
    foreign(raw, tmp_path / "web.vmdk", "vmdk")
    ran = call(tmp_path, "image", "import", "web.vmdk", "--site", site)
    assert ran.returncode == 0, ran.stderr
    assert "converting web.vmdk" in ran.stderr
    found = tomllib.loads(site.read_text())["image"]["web"]
    checked = call(tmp_path, "check", site)
    assert checked.returncode == 0, checked.stderr
    assert found["file"] in checked.stdout
    listed = json.loads(call(tmp_path, "image", "list", "--json").stdout)
    assert [each["sha256"] for each in listed] == [found["sha256"]]


def large_disk(path: Path) -> Path:
    """Takes some seconds to convert: 300 MB of noise that nothing packs."""
    rng = random.Random(5)  # noqa: S311 - the same at every run
    with path.open("wb") as file:
        file.write(make_disk(1)[: 2 * MIB])
        block = rng.randbytes(MIB)
        for index in range(300):
            file.write(index.to_bytes(4, "big") + block[4:])
    return path


def test_an_import_that_is_killed_is_done_by_the_next(tmp_path: Path) -> None:
    large_disk(tmp_path / "big.raw")
    process = subprocess.Popen(
        [PROGRAM, "image", "import", "big.raw"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    for line in process.stderr:
        if "converting" in line and "%" in line:
            break
    inside = children(process.pid)
    assert inside, "qemu-img runs"
    process.send_signal(signal.SIGKILL)
    process.wait(LIMIT)
    process.stderr.close()
    for child in inside:
        with pytest.raises(ProcessLookupError):
            wait_gone(child)
    images = tmp_path / "images"
    assert [path.name for path in images.iterdir()] == [WORK]
    assert not list(images.glob("*.qcow2"))
    ran = call(tmp_path, "image", "import", "big.raw")
    assert ran.returncode == 0, ran.stderr
    (made,) = images.glob("*.qcow2")
    run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", made, tmp_path / "big.raw"])
    assert WORK not in {path.name for path in images.iterdir()}


def children(pid: int) -> list[int]:
    """All processes below one."""
    found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [deeper for each in found for deeper in children(each)]


def wait_gone(pid: int) -> None:
    """Waits for a process that is no child of ours to be gone; raises ProcessLookupError then."""
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        assert poll.poll(LIMIT * 1000), f"process {pid} goes on"
    finally:
        os.close(handle)
    raise ProcessLookupError


def test_two_imports_at_once(tmp_path: Path) -> None:
    large_disk(tmp_path / "big.raw")
    words: list[str | Path] = [PROGRAM, "image", "import", "big.raw", "--json"]
    both = [
        subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    reports = [json.loads(process.communicate(timeout=LIMIT)[0]) for process in both]
    assert sorted(report["made"] for report in reports) == [False, True]
    assert reports[0]["record"] == reports[1]["record"]
    assert len(list((tmp_path / "images").glob("*.qcow2"))) == 1


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A web server on this machine: its directory and URL."""
    place = tmp_path / "www"
    place.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(place))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield place, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_download(tmp_path: Path, raw: Path, web: tuple[Path, str]) -> None:
    place, url = web
    path = foreign(raw, place / "disk.vmdk", "vmdk")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    ran = call(tmp_path, "image", "import", f"{url}/disk.vmdk", "--sha256", sha256)
    assert ran.returncode == 0, ran.stderr
    (made,) = (tmp_path / "images").glob("*.qcow2")
    run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", made, raw])
    shutil.rmtree(place)
    again = call(tmp_path, "image", "import", f"{url}/disk.vmdk", "--sha256", sha256)
    assert again.returncode == 0, "the library needs no server"
    other = call(tmp_path, "image", "import", f"{url}/disk.vmdk", "--sha256", "0" * 64)
    assert "FV-HOST-101" in other.stderr
