"""Files as wholes."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from flashvisor.errors import DeviceFaultyError, NoSpaceError
from flashvisor.host import files


def test_write_atomic_replaces_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    files.write_atomic(path, b"old")
    files.write_atomic(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_write_atomic_keeps_the_old_bytes_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(5, f"descriptor {descriptor}: Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_write_once_overwrites_nothing_and_leaves_nothing_beside(tmp_path: Path) -> None:
    files.write_once(tmp_path / "new/secret", b"first", mode=0o600)
    with pytest.raises(FileExistsError):
        files.write_once(tmp_path / "new/secret", b"second")
    assert (tmp_path / "new/secret").read_bytes() == b"first"
    assert (tmp_path / "new/secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["secret"]


def test_a_directory_comes_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "keys"
    files.write_directory_once(target, {"a": b"1", "b": b"2"}, mode=0o600, directory_mode=0o700)
    assert {entry.name: entry.read_bytes() for entry in target.iterdir()} == {"a": b"1", "b": b"2"}
    assert target.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in target.parent.iterdir()] == ["keys"]


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        files.write_directory_once(tmp_path, {"a": b"1"})
    with pytest.raises(FileExistsError):
        files.write_directory_once(tmp_path / "mine", {"a": b"1"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_somebody_else_was_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, real = tmp_path / "keys", files.write_atomic

    def slow(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        real(path, data, mode=mode)
        target.mkdir(exist_ok=True)
        (target / "theirs").write_text("theirs")

    monkeypatch.setattr(files, "write_atomic", slow)
    with pytest.raises(FileExistsError):
        files.write_directory_once(target, {"a": b"1"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]
    assert [entry.name for entry in target.iterdir()] == ["theirs"]


def test_hash_and_chunks_tell_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = bytes(range(256)) * 5000
    path.write_bytes(data)
    seen: list[int] = []
    assert files.sha256_file(path, seen.append) == hashlib.sha256(data).hexdigest()
    assert b"".join(files.read_chunks(path)) == data
    assert seen == [files.CHUNK, len(data) - files.CHUNK]


def test_space_is_asked_for_where_the_directory_will_be(tmp_path: Path) -> None:
    files.need_space(tmp_path / "not" / "there" / "yet", 1, "a test")
    with pytest.raises(NoSpaceError, match=r"a test needs .* MiB on .*, and .* MiB are free"):
        files.need_space(tmp_path / "not", 1 << 60, "a test")


def test_some_space_may_have_to_stay_free(tmp_path: Path) -> None:
    files.need_space(tmp_path, 1, "a test", keep=lambda size: size // (1 << 20))
    with pytest.raises(NoSpaceError, match="must stay so") as caught:
        files.need_space(tmp_path, 1, "a test", keep=lambda size: size, advice="Make room.")
    assert caught.value.next_step == "Make room."


def test_a_disk_that_runs_full_or_fails_is_told_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match=f"a test: {tmp_path} ran full"), files.on_disk(tmp_path, "a test"):
        Path("/dev/full").write_bytes(b"x")
    with pytest.raises(DeviceFaultyError, match="Read-only file system"), files.on_disk(tmp_path, "a test"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_large_file_takes_its_place_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with files.replacing(path, mode=0o600, size=10) as half:
        assert half.read_bytes() == bytes(10)
        assert not path.exists()
        half.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RuntimeError), files.replacing(path) as half:
        half.write_bytes(b"half")
        raise RuntimeError
    assert [found.name for found in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"whole"
