"""An image comes together from what is here and what the source has; whatever goes wrong, no wrong byte is let in."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor import errors
from flashvisor.host.files import sha256_file
from flashvisor.model.release import Chunk, chunk_path
from flashvisor.node.intake import _Growing, assemble
from sim.reposim import RepoSim, image_of, manifest_of, repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, NEW = image_of("kernel", "root", "root"), image_of("new kernel", "root", "root")
MANIFEST = manifest_of(NEW, "1.1")
CHUNKS = {chunk.sha256: chunk for chunk in MANIFEST.chunks}


@pytest.fixture
def source() -> RepoSim:
    return RepoSim(repository((MANIFEST, NEW)))


def test_only_chunks_that_are_not_here_are_downloaded(tmp_path: Path, source: RepoSim) -> None:
    seen: list[int] = []
    intake = assemble(MANIFEST, tmp_path / "update", held=[OLD], source=source, tell=seen.append)
    assert intake.image.read_bytes() == NEW
    assert 0 < source.received < 80_000
    assert source.received + intake.reused == len(NEW)
    assert set(source.chunks_asked) < {chunk_path(sha256) for sha256 in CHUNKS}
    assert seen == sorted(seen)
    assert seen[-1] == len(NEW)


def test_without_a_held_image_all_is_downloaded_each_chunk_once(tmp_path: Path, source: RepoSim) -> None:
    intake = assemble(MANIFEST, tmp_path, held=[], source=source)
    assert intake.image.read_bytes() == NEW
    assert source.chunks_asked == [chunk_path(sha256) for sha256 in CHUNKS]
    assert intake.reused == 0


def test_an_image_that_is_here_already_asks_nobody(tmp_path: Path, source: RepoSim) -> None:
    def held() -> Iterator[bytes]:
        yield NEW
        raise AssertionError("the next image was read although nothing was missing")

    intake = assemble(MANIFEST, tmp_path, held=held(), source=source)
    assert (intake.reused, source.asked) == (len(NEW), [])
    assert intake.image.read_bytes() == NEW


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_download_that_was_cut_goes_on_where_it_stopped(tmp_path: Path, source: RepoSim, after: int) -> None:
    source.stop_after = after
    with pytest.raises(errors.ReleaseSourceError):
        assemble(MANIFEST, tmp_path, held=[], source=source)
    first = list(source.asked)
    assert len(first) == after
    source.asked, source.stop_after = [], None
    intake = assemble(MANIFEST, tmp_path, held=[], source=source)
    assert intake.image.read_bytes() == NEW
    assert not set(source.asked) & set(first)
    assert len(source.asked) + after == len(CHUNKS)


def test_what_was_kept_is_not_trusted(tmp_path: Path, source: RepoSim) -> None:
    source.stop_after = 3
    with pytest.raises(errors.ReleaseSourceError):
        assemble(MANIFEST, tmp_path, held=[], source=source)
    (kept,) = tmp_path.iterdir()
    data = bytearray(kept.read_bytes())
    data[MANIFEST.chunks[1].length // 2 + MANIFEST.chunks[0].length] ^= 1
    kept.write_bytes(data)
    source.asked, source.stop_after = [], None
    assert assemble(MANIFEST, tmp_path, held=[], source=source).image.read_bytes() == NEW
    assert source.asked[0] == chunk_path(MANIFEST.chunks[1].sha256)
    assert len(source.asked) == len(CHUNKS) - 2


def test_what_was_kept_of_another_release_serves_too_and_goes(tmp_path: Path, source: RepoSim) -> None:
    newest = image_of("new kernel", "root", "root", "more")
    second = manifest_of(newest, "1.2")
    source.stop_after = 4
    with pytest.raises(errors.ReleaseSourceError):
        assemble(MANIFEST, tmp_path, held=[], source=source)
    first = set(source.asked)
    later = RepoSim(repository((second, newest)))
    intake = assemble(second, tmp_path, held=[], source=later)
    assert intake.image.read_bytes() == newest
    assert not first & set(later.asked)
    assert list(tmp_path.iterdir()) == [intake.image]


def test_a_missing_chunk(tmp_path: Path, source: RepoSim) -> None:
    gone = chunk_path(MANIFEST.chunks[2].sha256)
    del source.files[gone]
    with pytest.raises(errors.UpdateFileMissingError, match=gone):
        assemble(MANIFEST, tmp_path, held=[], source=source)


def test_a_wrong_chunk(tmp_path: Path, source: RepoSim) -> None:
    wrong = chunk_path(MANIFEST.chunks[2].sha256)
    source.files[wrong] = b"x" * len(source.files[wrong])
    with pytest.raises(errors.WrongHashError):
        assemble(MANIFEST, tmp_path, held=[], source=source)
    (kept,) = tmp_path.iterdir()
    assert b"xxxxxxxx" not in kept.read_bytes()


def test_a_chunk_without_end(tmp_path: Path, source: RepoSim) -> None:
    source.files[chunk_path(MANIFEST.chunks[0].sha256)] += bytes(10_000_000)
    with pytest.raises(errors.EndlessDataError):
        assemble(MANIFEST, tmp_path, held=[], source=source)
    assert source.received == MANIFEST.chunks[0].length + 1


def test_chunks_that_are_signed_and_make_another_image(tmp_path: Path, source: RepoSim) -> None:
    swapped = msgspec.structs.replace(MANIFEST, chunks=(*MANIFEST.chunks[1:], MANIFEST.chunks[0]))
    with pytest.raises(errors.WrongHashError, match="not those of its image"):
        assemble(swapped, tmp_path, held=[], source=source)
    assert list(tmp_path.iterdir()) == []


def test_no_room(tmp_path: Path, source: RepoSim) -> None:
    huge = msgspec.structs.replace(MANIFEST, length=1 << 60, chunks=(Chunk("0" * 64, 1),))
    with pytest.raises(errors.NoSpaceError, match=r"release flashvisor 1\.1"):
        assemble(huge, tmp_path, held=[], source=source)
    assert list(tmp_path.iterdir()) == []


def test_memory_that_runs_out_on_the_way(tmp_path: Path, source: RepoSim, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_Growing, "download", full)
    with pytest.raises(errors.NoSpaceError, match="memory ran out"):
        assemble(MANIFEST, tmp_path, held=[], source=source)


def test_the_file_is_named_after_its_hash(tmp_path: Path, source: RepoSim) -> None:
    image = assemble(MANIFEST, tmp_path, held=[], source=source).image
    assert image.stem == sha256_file(image)
