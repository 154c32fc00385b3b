"""The node's tools for real, on files: file systems, images, guests' disks, the agent as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flashvisor.errors import CommandFailedError, DamagedDiskError, DiskTooSmallError, ForeignDataError, NotAnImageError
from flashvisor.guests.domain import Bios, DirectKernel, DiskFormat, Uefi
from flashvisor.host import blkid, e2fs, mtools, qemu_img
from flashvisor.host.clock import ticks
from flashvisor.host.run import run
from flashvisor.model.record import ImageEntry
from flashvisor.node.fakemachine import blank_disk
from flashvisor.node.guestfiles import Places, prepare
from flashvisor.node.images import ImageStore, Library, StoredImage
from flashvisor.node.machine import _probed
from flashvisor.node.plan import Desired
from flashvisor.node.storage import DataDisk, needs_format, storage_label
from sim.nodekit import SITE, desired, sha256, uki

pytestmark = pytest.mark.tools

MIB = 1 << 20  # bytes
LIMIT = 20.0  # seconds; a test that needs them has failed
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGZVG4zsTrVkbVPTcUWhF0Cq4x0bVdJrGXg3n0mIcAj me"

DISK_SITE = """\
schema = 1
[node]
name = "alpha"
[storage.main]
serial = "data0"
[network.inside]
subnet = "10.77.0.0/24"
[image.debian]
file = "debian.img"
[guest.web]
image = "debian"
memory = "512MiB"
disk = "64MiB"
nics = [{ network = "inside" }]
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    store = ImageStore(tmp_path / "images")
    return Places(images=Library([store]), guests=tmp_path / "guests", consoles=tmp_path / "console")


def put(places: Places, data: bytes) -> StoredImage:
    with places.images.first.receive(sha256(data)) as incoming:
        incoming.write(data)
        return incoming.finish()


def raw_disk(size: int = 8 * MIB) -> bytes:
    return bytes(510) + b"\x55\xaa" + bytes(size - 512)


def wish(text: str, image: bytes) -> Desired:
    entry = ImageEntry(sha256=sha256(image), size=len(image), kind="disk")
    return replace(desired(text), images={"debian": entry})


def on_disk(path: Path, signature: blkid.Signature | None, *, blank: bool) -> DataDisk:
    return replace(blank_disk("data0"), device=str(path), signature=signature, blank=blank)


def test_a_blank_disk_becomes_ours_and_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(16 * MIB))
    assert blkid.probe(path) is None
    e2fs.make_ext4(path, label=storage_label("main"))
    found = blkid.probe(path)
    assert found == blkid.Signature("ext4", "fv-main")
    assert not needs_format("main", on_disk(path, found, blank=False))
    with pytest.raises(ForeignDataError):
        needs_format("other", on_disk(path, found, blank=False))


@pytest.fixture
def ext4(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(16 * MIB))
    e2fs.make_ext4(path, label="fv-main")
    return path


def debugfs(path: Path, *requests: str) -> None:
    run(["debugfs", "-w", "-f", "-", path], stdin="\n".join(requests))


def test_a_sound_file_system_passes_the_check_and_only_its_superblock_is_written(ext4: Path) -> None:
    before = ext4.read_bytes()
    e2fs.check(ext4)
    assert ext4.read_bytes()[2048:] == before[2048:]


def test_what_can_be_repaired_unasked_is_repaired(ext4: Path) -> None:
    # As after an error that the kernel met: a wrong count of links, and a state that asks for a whole examination.
    debugfs(ext4, "set_inode_field lost+found links_count 9", "set_super_value state 2")
    with pytest.raises(CommandFailedError):
        run(["e2fsck", "-f", "-n", ext4])
    e2fs.check(ext4)
    run(["e2fsck", "-f", "-n", ext4])


def test_what_cannot_is_told_with_e2fscks_words(ext4: Path) -> None:
    # The root directory's inode is gone.
    debugfs(ext4, "clri <2>", "set_super_value state 2")
    with pytest.raises(DamagedDiskError, match=str(ext4)) as caught:
        e2fs.check(ext4)
    assert "e2fsck -p" in caught.value.evidence
    assert "UNEXPECTED INCONSISTENCY" in caught.value.evidence


def test_what_is_no_file_system_is_not_said_to_be_sound(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(16 * MIB))
    with pytest.raises(DamagedDiskError):
        e2fs.check(tmp_path / "disk")


def test_a_partitioned_disk_is_foreign(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    # One partition of type Linux, from sector 2048.
    entry = bytes.fromhex("00000000830000000008000000400000")
    path.write_bytes(bytes(446) + entry + bytes(48) + b"\x55\xaa" + bytes(16 * MIB))
    with pytest.raises(ForeignDataError, match="dos"):
        needs_format("main", on_disk(path, blkid.probe(path), blank=False))


def test_only_a_disk_with_nothing_on_it_and_zeros_at_both_ends_is_blank(tmp_path: Path) -> None:
    def probed(data: bytes) -> DataDisk:
        (tmp_path / "disk").write_bytes(data)
        return _probed(replace(blank_disk("data0"), device=str(tmp_path / "disk"), blank=False))

    assert probed(bytes(4 * MIB)).blank
    # What lies in the middle only is not looked for: a wiped disk keeps such remains.
    assert probed(bytes(2 * MIB) + b"x" + bytes(2 * MIB)).blank
    assert not probed(b"x" + bytes(4 * MIB)).blank
    assert not probed(bytes(4 * MIB) + b"x").blank
    assert not probed(b"x" * 100).blank


def test_a_disk_that_cannot_be_read_is_foreign(tmp_path: Path) -> None:
    disk = _probed(replace(blank_disk("data0"), device=str(tmp_path / "none"), blank=False))
    with pytest.raises(ForeignDataError):
        needs_format("main", disk)


def test_tools_say_their_versions() -> None:
    assert "mke2fs" in e2fs.version()
    assert "blkid" in blkid.version()
    assert "qemu-img" in qemu_img.version()


def test_a_disk_guest_gets_an_overlay_of_the_wished_size_once(places: Places) -> None:
    data = raw_disk()
    put(places, data)
    spec = prepare(wish(DISK_SITE, data), "web", places)
    assert spec.boot == Uefi(nvram=str(places.guests / "web/nvram.fd"))
    (disk,) = spec.disks
    info = qemu_img.info(Path(disk.path), kind="qcow2")
    assert (disk.format, info.virtual_size, info.leans_on()) == (
        DiskFormat.QCOW2,
        64 * MIB,
        str(places.images.first.place / sha256(data)),
    )
    before = Path(disk.path).stat().st_ino
    prepare(wish(DISK_SITE, data), "web", places)
    assert Path(disk.path).stat().st_ino == before


def test_a_disk_grows_and_never_shrinks(places: Places) -> None:
    data = raw_disk()
    put(places, data)
    (disk,) = prepare(wish(DISK_SITE, data), "web", places).disks
    prepare(wish(DISK_SITE.replace("64MiB", "96MiB"), data), "web", places)
    assert qemu_img.info(Path(disk.path), kind="qcow2").virtual_size == 96 * MIB
    with pytest.raises(DiskTooSmallError, match="96 MiB"):
        prepare(wish(DISK_SITE, data), "web", places)


def test_a_disk_smaller_than_its_image_is_refused_before_anything_is_made(places: Places) -> None:
    data = raw_disk(96 * MIB)
    put(places, data)
    with pytest.raises(DiskTooSmallError, match="its image"):
        prepare(wish(DISK_SITE, data), "web", places)
    assert list((places.guests / "web").iterdir()) == []


def test_a_bios_guest_with_a_seed(places: Places) -> None:
    data = raw_disk()
    put(places, data)
    text = DISK_SITE.replace('disk = "64MiB"', f'firmware = "bios"\ncloud_init = {{ ssh_keys = ["{KEY}"] }}')
    spec = prepare(wish(text, data), "web", places)
    assert spec.boot == Bios()
    assert set(mtools.list_files(Path(spec.seed))) == {"user-data", "meta-data", "network-config"}
    assert blkid.probe(Path(spec.seed)) == blkid.Signature("vfat", "CIDATA")
    target = places.guests / "out"
    mtools.read_file(Path(spec.seed), "user-data", target)
    assert KEY in target.read_text()
    # Other keys make another seed, and the old one goes.
    again = prepare(wish(text.replace(" me", " you"), data), "web", places)
    assert again.seed != spec.seed
    assert not Path(spec.seed).exists()


def test_an_appliance_starts_from_its_own_kernel(places: Places) -> None:
    put(places, uki(b"the kernel", b"quiet\0", initrd=b"the root"))
    made = desired(SITE, {"hello": uki(b"the kernel", b"quiet\0", initrd=b"the root")})
    spec = prepare(made, "hello", places)
    assert isinstance(spec.boot, DirectKernel)
    assert Path(spec.boot.kernel).read_bytes() == b"the kernel"
    assert Path(spec.boot.initrd).read_bytes() == b"the root"
    assert spec.boot.cmdline == "quiet console=ttyS0"
    assert spec.disks == ()


def test_a_qcow2_image_is_kept_and_one_that_reads_another_file_is_not(places: Places, tmp_path: Path) -> None:
    whole, secret, thief = tmp_path / "whole", tmp_path / "secret", tmp_path / "thief"
    qemu_img.make_blank(whole, size=8 * MIB)
    assert put(places, whole.read_bytes()).format is DiskFormat.QCOW2
    secret.write_bytes(raw_disk())
    qemu_img.make_overlay(thief, base=secret, base_kind="raw", size=None)
    with pytest.raises(NotAnImageError, match="another file") as caught:
        put(places, thief.read_bytes())
    assert str(secret) in caught.value.evidence
    with pytest.raises(NotAnImageError, match="is none"):
        put(places, b"QFI\xfb" + bytes(5000))
    assert places.images.digests() == {sha256(whole.read_bytes())}


def test_the_agent_as_a_process_starts_and_ends_when_told(tmp_path: Path) -> None:
    state = tmp_path / "ring.img"
    with state.open("wb") as file:
        file.truncate(8 * MIB)
    argv = [sys.executable, "-m", "flashvisor.node", "--fake-driver", "--state", str(state), "--root", str(tmp_path)]
    said = tmp_path / "said"
    with said.open("wb") as sink, subprocess.Popen(argv, stderr=sink) as process:
        for _ in ticks(0.1, LIMIT):
            if "FV-NODE-012" in said.read_text():
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
    first = said.read_text().splitlines()
    assert [line.split(" t=")[0] for line in first if "stage=agent" in line] == ["flashvisor: stage=agent"]
    assert any("FV-NODE-012" in line for line in first)


def test_an_appliance_gets_the_sites_files_behind_its_own(places: Places) -> None:
    data = uki(b"the kernel", b"quiet\0", initrd=b"the root")
    put(places, data)
    text = SITE.replace('memory = "64MiB"', 'memory = "64MiB"\nappliance.files = { "/etc/site.d/site.conf" = "a" }')
    spec = prepare(desired(text, {"hello": data}), "hello", places)
    assert isinstance(spec.boot, DirectKernel)
    assert Path(spec.boot.initrd).parent == places.guests / "hello"
    assert Path(spec.boot.initrd).read_bytes().startswith(b"the root070701")
