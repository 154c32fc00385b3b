"""Compressed disks come out whole; bombs are stopped while they go off; broken data are told."""

from __future__ import annotations

import gzip
import lzma
import random
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import zstandard

from flashvisor.errors import DamagedImageError, ExplodingImageError, TruncatedImageError, UnknownFormatError
from flashvisor.host.files import bytes_on_disk
from flashvisor.transfer import expand as module
from flashvisor.transfer.expand import expand
from flashvisor.transfer.formats import Kind, detect
from flashvisor.transfer.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
COMPRESS: dict[Kind, Callable[[bytes], bytes]] = {
    Kind.GZIP: gzip.compress,
    Kind.XZ: lzma.compress,
    Kind.ZSTD: zstandard.ZstdCompressor(write_checksum=True).compress,
}
KINDS = list(COMPRESS)


def disk(sectors: int, *, real: int | None = None) -> bytes:
    """A disk whose partition table describes so many sectors; it has them, or `real` bytes."""
    data = bytearray(sectors * 512 if real is None else real)
    struct.pack_into("<4xB3xII", data, 446, 0x83, 1, sectors - 1)
    data[510:512] = b"\x55\xaa"
    noise = random.Random(1).randbytes(3000)  # noqa: S311 - the same at every run
    data[2000:5000] = noise
    data[-3000:] = noise
    return bytes(data)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small machine: nothing is kept free, and a disk may be larger than it says by 1 MiB only."""
    monkeypatch.setattr(module, "RESERVE", 0)
    monkeypatch.setattr(module, "SPACE_STEP", MIB)
    monkeypatch.setattr(module, "SLACK", MIB)


def unpack(tmp_path: Path, kind: Kind, data: bytes, *, limit: int | None = None) -> Path:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    assert detect(Region.of(source)) is kind
    expand(Region.of(source), kind, target, limit=limit, on_bytes=lambda _: None)
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_comes_out_whole_and_its_zeros_are_holes(tmp_path: Path, kind: Kind) -> None:
    data = disk(10_000)
    target = unpack(tmp_path, kind, COMPRESS[kind](data))
    assert target.read_bytes() == data
    assert bytes_on_disk(target) < len(data) // 2


@pytest.mark.parametrize("kind", KINDS)
def test_several_streams_are_one_disk(tmp_path: Path, kind: Kind) -> None:
    data = disk(10_000)
    streams = b"".join(COMPRESS[kind](part) for part in (data[:700], data[700:4_000_000], data[4_000_000:]))
    assert unpack(tmp_path, kind, streams).read_bytes() == data


def test_padding_between_streams(tmp_path: Path) -> None:
    data = disk(4000)
    streams = lzma.compress(data[:999]) + bytes(8) + lzma.compress(data[999:]) + bytes(4)
    assert unpack(tmp_path, Kind.XZ, streams).read_bytes() == data


@pytest.mark.parametrize("kind", KINDS)
def test_progress_counts_what_was_read(tmp_path: Path, kind: Kind) -> None:
    source = tmp_path / "source"
    source.write_bytes(COMPRESS[kind](disk(4000)))
    heard: list[int] = []
    expand(Region.of(source), kind, tmp_path / "target", limit=None, on_bytes=heard.append)
    assert sum(heard) == source.stat().st_size


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_stopped_while_it_goes_off(tmp_path: Path, kind: Kind) -> None:
    """24 MiB come out of a disk that says 1 MiB: never more than a few MiB are written or held in memory."""
    bomb = COMPRESS[kind](disk(2048, real=24 * MIB))
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(ExplodingImageError, match="goes on beyond"):
            unpack(tmp_path, kind, bomb)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
    assert (tmp_path / "target").stat().st_size < 4 * MIB


def test_a_bomb_of_streams(tmp_path: Path) -> None:
    bomb = COMPRESS[Kind.GZIP](disk(2048)) + COMPRESS[Kind.GZIP](bytes(MIB)) * 16
    with pytest.raises(ExplodingImageError):
        unpack(tmp_path, Kind.GZIP, bomb)


def test_who_knows_the_size_says_it(tmp_path: Path) -> None:
    data = COMPRESS[Kind.GZIP](disk(2048, real=8 * MIB))
    assert unpack(tmp_path, Kind.GZIP, data, limit=8 * MIB).stat().st_size == 8 * MIB
    with pytest.raises(ExplodingImageError, match="8 MiB"):
        unpack(tmp_path, Kind.GZIP, data, limit=8 * MIB - 1)


def test_a_qcow2_image_says_its_size_too(tmp_path: Path) -> None:
    head = b"QFI\xfb" + struct.pack(">IQII", 3, 0, 0, 16) + struct.pack(">Q", MIB)
    assert unpack(tmp_path, Kind.XZ, lzma.compress(head + bytes(2 * MIB))).stat().st_size == 2 * MIB + len(head)
    with pytest.raises(ExplodingImageError):
        unpack(tmp_path, Kind.XZ, lzma.compress(head + bytes(16 * MIB)))


def test_xz_that_wants_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "XZ_MEMORY", MIB)
    with pytest.raises(DamagedImageError) as caught:
        unpack(tmp_path, Kind.XZ, lzma.compress(disk(2048), preset=6))
    assert "emory" in caught.value.evidence


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "inner", [b"<html>", b"PK\x03\x04", gzip.compress(bytes(9000), mtime=0), b""], ids=["page", "zip", "gzip", "none"]
)
def test_what_is_inside_must_be_a_disk(tmp_path: Path, kind: Kind, inner: bytes) -> None:
    data = COMPRESS[kind](inner)
    if not inner:
        assert unpack(tmp_path, kind, data).stat().st_size == 0
        return
    with pytest.raises(UnknownFormatError, match="neither"):
        unpack(tmp_path, kind, data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 5, 40])
def test_compressed_data_that_break_off(tmp_path: Path, kind: Kind, cut: int) -> None:
    with pytest.raises((TruncatedImageError, DamagedImageError)):
        unpack(tmp_path, kind, COMPRESS[kind](disk(10_000))[:-cut])


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_data_that_are_damaged(tmp_path: Path, kind: Kind) -> None:
    data = bytearray(COMPRESS[kind](disk(10_000)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises((DamagedImageError, TruncatedImageError)):
        unpack(tmp_path, kind, bytes(data))
