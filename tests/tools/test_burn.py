"""flash.img made by real sgdisk and mtools, and burnt to a file that passes for a device."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.main import run as run_cli
from flashvisor.errors import DeviceError, DeviceFaultyError, RingFullError
from flashvisor.flash import burn as burn_module
from flashvisor.flash.burn import burn, burn_work, check_target, make_flash_image
from flashvisor.flash.layout import ALIGNMENT, BOOT_FILE, DEVICE_SIZE, PARTITIONS, STATE
from flashvisor.flash.ring import Ring
from flashvisor.host import mtools, sgdisk
from flashvisor.host.block import BlockFile, DiskFacts, disk_facts
from flashvisor.host.run import run
from flashvisor.model.record import Identity, RecordKind, decode, encode
from flashvisor.model.slot import IMAGE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.tools
IDENTITY = Identity(node_name="alpha", owner_ca_pem="ca", node_cert_pem="cert", node_key_pem="key")
RECORDS = [(RecordKind.IDENTITY, encode(IDENTITY))]


@pytest.fixture(scope="module")
def efi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As large as an image may be, every block other than the next."""
    path = tmp_path_factory.mktemp("efi") / "flashvisor.efi"
    numbers = b"".join(number.to_bytes(8, "little") for number in range(IMAGE_LIMIT // 8))
    path.write_bytes(numbers[: IMAGE_LIMIT - 1])
    return path


@pytest.fixture(scope="module")
def image(efi: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "flash.img"
    make_flash_image(efi, path, RECORDS)
    return path


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file that holds an older owner's data and is a little larger than needed."""
    path = tmp_path / "device"
    path.write_bytes(b"\x5a" * (DEVICE_SIZE + ALIGNMENT))
    return path


def passes_for_a_stick(path: Path) -> DiskFacts:
    return replace(disk_facts(path), is_block=True, removable=True, serial="S1", model="Stick")


def test_the_partition_table_is_as_laid_out(image: Path) -> None:
    assert image.stat().st_size == DEVICE_SIZE
    assert image.stat().st_mode & 0o777 == 0o600, "it holds the server's private key"
    said = sgdisk.verify_table(image)
    assert "No problems found" in said
    assert [line.split()[-1] for line in said.splitlines() if "fv-" in line] == [
        "fv-factory",
        "fv-a",
        "fv-b",
        "fv-state",
    ]
    for number, part in enumerate(PARTITIONS.values(), 1):
        info = run(["sgdisk", f"--info={number}", image]).stdout
        assert part.kind in info
        assert part.guid in info
        assert f"First sector: {part.start // 512} " in info
        assert f"Partition size: {part.size // 512} " in info


@pytest.mark.parametrize("name", ["factory", "a"])
def test_factory_and_a_hold_the_image(image: Path, efi: Path, tmp_path: Path, name: str) -> None:
    mtools.read_file(image, BOOT_FILE, tmp_path / "out", offset=PARTITIONS[name].start)
    assert (tmp_path / "out").read_bytes() == efi.read_bytes()


@pytest.mark.parametrize("name", ["factory", "a", "b"])
def test_each_slot_is_a_sound_fat16(image: Path, tmp_path: Path, name: str) -> None:
    slot = tmp_path / "slot"
    with BlockFile(image, offset=PARTITIONS[name].start, length=PARTITIONS[name].size) as source:
        slot.write_bytes(source.read(0, source.size))
    run(["fsck.fat", "-n", slot])
    assert run(["blkid", "-p", "-o", "value", "-s", "VERSION", slot]).stdout.strip() == "FAT16"
    assert (BOOT_FILE in mtools.list_files(slot)) is (name != "b")


def test_the_state_ring_is_seeded(image: Path) -> None:
    with BlockFile(image, offset=STATE.start, length=STATE.size) as device:
        ring = Ring.open(device)
    (record,) = ring.records(RecordKind.IDENTITY)
    assert decode(record.payload, Identity) == IDENTITY
    assert (record.cause, ring.lost) == ("burn", ())


def test_the_same_inputs_give_the_same_bytes_in_another_place(image: Path, efi: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "flash.img"
    make_flash_image(efi, other, RECORDS)
    assert other.read_bytes() == image.read_bytes()
    assert other.with_name("flash.img.bmap").read_text() == image.with_name("flash.img.bmap").read_text()


def test_a_failure_leaves_the_old_image(efi: Path, tmp_path: Path) -> None:
    output = tmp_path / "flash.img"
    output.write_bytes(b"old")
    with pytest.raises(RingFullError):
        make_flash_image(efi, output, [(RecordKind.IDENTITY, bytes(300 << 10))])
    assert [path.name for path in tmp_path.iterdir()] == ["flash.img"]
    assert output.read_bytes() == b"old"


def test_burning_writes_reads_back_and_tells_of_every_byte(image: Path, device: Path) -> None:
    told: list[int] = []
    done = burn(image, device, None, told.append, facts=passes_for_a_stick)
    assert sum(told) == burn_work(image) == 2 * DEVICE_SIZE
    assert (done.device, done.size) == (device, DEVICE_SIZE)
    assert done.sha256 == run(["sha256sum", image]).stdout.split()[0]
    data = device.read_bytes()
    assert data[:DEVICE_SIZE] == image.read_bytes()
    assert data[DEVICE_SIZE:] == b"\x5a" * ALIGNMENT


def test_a_burn_cut_short_leaves_no_partition_table(image: Path, device: Path) -> None:
    class PlugPulledError(Exception):
        pass

    told = 0

    def pull(count: int) -> None:
        nonlocal told
        told += count
        if told > DEVICE_SIZE // 2:
            raise PlugPulledError

    with pytest.raises(PlugPulledError):
        burn(image, device, None, pull, facts=passes_for_a_stick)
    assert device.read_bytes()[:ALIGNMENT] == bytes(ALIGNMENT)


def test_a_device_that_lies_is_found_out(image: Path, device: Path) -> None:
    told = 0

    def decay(count: int) -> None:
        nonlocal told
        told += count
        if told == DEVICE_SIZE:  # all is written, nothing is read back yet
            with device.open("r+b") as file:
                file.seek(PARTITIONS["a"].start + 12345)
                file.write(b"\xee")

    with pytest.raises(DeviceFaultyError, match=str(PARTITIONS["a"].start + 12345)):
        burn(image, device, None, decay, facts=passes_for_a_stick)


@pytest.mark.parametrize(
    ("change", "serial"),
    [
        ({"in_use": ("/dev/sdb1 is mounted on /mnt",)}, None),
        ({"removable": False}, None),
        ({}, "other"),
        ({"size": DEVICE_SIZE - 1}, None),
        ({"is_block": False}, None),
    ],
)
def test_a_refused_device_is_not_touched(
    image: Path, device: Path, change: dict[str, object], serial: str | None
) -> None:
    before = device.read_bytes()

    def facts(path: Path) -> DiskFacts:
        return replace(passes_for_a_stick(path), **change)  # type: ignore[arg-type]

    with pytest.raises(DeviceError):
        burn(image, device, serial, lambda _: None, facts=facts)
    assert device.read_bytes() == before


def test_the_kernels_own_facts_refuse_the_disk_that_this_machine_runs_from() -> None:
    source = Path(run(["findmnt", "-n", "-o", "SOURCE", "/"]).stdout.strip())
    # Only asked about, never opened. In a container / has no device: then its name is no block device either.
    facts = disk_facts(source if source.is_block_device() else Path("/"))
    with pytest.raises(DeviceError, match=r"in use|partition|not a block device"):
        check_target(facts, 0, facts.serial)


def test_the_command_refuses_a_file(image: Path, device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["burn", str(image), str(device), "--json"]) == DeviceError.exit_status
    report = json.loads(capsys.readouterr().out)
    assert report["code"] == DeviceError.code
    assert "not a block device" in report["what"]


def test_the_command_burns(
    image: Path, device: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stick(*given: object) -> object:
        image, device, serial, on_bytes = given
        return real(image, device, serial, on_bytes, facts=passes_for_a_stick)

    real: Callable[..., object] = burn_module.burn
    monkeypatch.setattr("flashvisor.cli.burn.burn", stick)
    assert run_cli(["burn", str(image), str(device), "--serial", "S1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["device"], report["size"]) == (str(device), DEVICE_SIZE)
