"""A repository's directory: one owner's, one writer at a time, never signed so that servers refuse it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from flashvisor.errors import ExpiredError, RollbackError, RootChainError, UpdateFileMissingError, UpdateFormatError
from flashvisor.flash.chunks import cut
from flashvisor.host import files
from flashvisor.model.release import Memory, chunk_path
from flashvisor.trust import keystore
from flashvisor.trust.keyring import Keyring
from flashvisor.trust.repository import LIFETIMES, expiries, releases
from flashvisor.trust.rootchain import ROOT_LIFETIME, next_root
from sim.releasekit import NOW, publish, release, repository, take

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.model.release import Chunk

PATIENCE = 10.0  # seconds
A_WHILE = 0.5  # seconds; a publication that nobody holds back takes a few hundredths


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def memory(keyring: Keyring) -> Memory:
    return Memory(root=keyring.roots[0])


@pytest.fixture
def own(keyring: Keyring, tmp_path: Path) -> Keyring:
    """A keyring that the test may change."""
    files.write_directory_once(tmp_path / "own", {keystore.STORE: keystore.encode(keyring.store)}, mode=0o600)
    return Keyring.open(tmp_path / "own")


def test_what_is_signed_says_until_when_it_is_good(keyring: Keyring, tmp_path: Path) -> None:
    publish(tmp_path, keyring, "1.0")
    until = expiries(tmp_path)
    assert {role: end - NOW for role, end in until.items() if role != "root"} == LIFETIMES
    assert min(until, key=lambda role: until[role]) == "timestamp"


def test_refresh_renews_and_changes_no_release(keyring: Keyring, tmp_path: Path) -> None:
    publish(tmp_path, keyring, "1.0")
    known, before = take(tmp_path, memory(keyring)).memory, releases(tmp_path)
    later = NOW + timedelta(days=80)
    repository(tmp_path, keyring).refresh(later)
    assert expiries(tmp_path)["timestamp"] == later + LIFETIMES["timestamp"]
    assert releases(tmp_path) == before
    after = take(tmp_path, known).memory
    assert (after.timestamp, after.issued) == (known.timestamp + 1, later.timestamp())


def test_refresh_of_what_is_no_repository_makes_none(keyring: Keyring, tmp_path: Path) -> None:
    with pytest.raises(UpdateFileMissingError, match="not a release repository"):
        repository(tmp_path / "none", keyring).refresh(NOW)
    assert not (tmp_path / "none").exists()


def test_the_same_release_again_only_renews_and_another_content_is_refused(keyring: Keyring, tmp_path: Path) -> None:
    publish(tmp_path, keyring, "1.0")
    publish(tmp_path, keyring, "1.0")
    assert [each.version for each in releases(tmp_path)] == ["1.0"]
    before = everything(tmp_path)
    with pytest.raises(RollbackError, match="published already") as caught:
        repository(tmp_path, keyring).publish(replace(release("1.0")[0], modaliases=()), [], NOW)
    assert "--version" in caught.value.next_step
    assert everything(tmp_path) == before


def test_a_manifest_that_servers_cannot_read_is_not_published(keyring: Keyring, tmp_path: Path) -> None:
    with pytest.raises(UpdateFormatError, match="version"):
        repository(tmp_path, keyring).publish(replace(release("1.0")[0], version="1.0-beta"), [], NOW)
    assert not everything(tmp_path)


def test_two_publications_at_once_come_after_each_other(keyring: Keyring, tmp_path: Path) -> None:
    manifest, image = release("1.0")
    other = threading.Thread(target=publish, args=(tmp_path, keyring, "1.1"))

    def pieces() -> Iterator[tuple[Chunk, bytes]]:
        other.start()
        other.join(A_WHILE)  # without the lock, it ends meanwhile, and what we write then forgets it
        yield from cut(image)

    repository(tmp_path, keyring).publish(manifest, pieces(), NOW)
    other.join(PATIENCE)
    assert [each.version for each in releases(tmp_path)] == ["1.0", "1.1"]
    verdict = take(tmp_path, memory(keyring))
    assert (verdict.manifest.version, verdict.memory.timestamp) == ("1.1", 2)


def test_another_owners_directory_is_left_as_it_is(keyring: Keyring, stranger: Keyring, tmp_path: Path) -> None:
    publish(tmp_path, stranger, "1.0")
    before = everything(tmp_path)
    with pytest.raises(RootChainError, match="not root version 1 of this keyring"):
        publish(tmp_path, keyring, "1.1")
    with pytest.raises(RootChainError):
        repository(tmp_path, keyring).refresh(NOW)
    assert everything(tmp_path) == before


def test_a_keyring_from_an_old_backup_does_not_publish(own: Keyring, tmp_path: Path) -> None:
    directory = tmp_path / "releases"
    publish(directory, own.rotate("tuf-targets"), "1.0")
    before = everything(directory)
    with pytest.raises(RootChainError, match="root version 2, and the keyring knows 1") as caught:
        publish(directory, own, "1.1")
    assert "backup" in caught.value.next_step
    assert everything(directory) == before


def test_an_expired_root_signs_nothing_until_there_is_a_new_one(own: Keyring, tmp_path: Path) -> None:
    old = next_root((), own.tuf_keys(), (), NOW - ROOT_LIFETIME)
    aged = Keyring(own.directory, replace(own.store, roots=(old.decode(),)))
    keystore.write(own.directory, aged.store)
    with pytest.raises(ExpiredError, match="root version 1 expired") as caught:
        publish(tmp_path / "releases", aged, "1.0")
    assert "keys rotate tuf-root" in caught.value.next_step
    publish(tmp_path / "releases", aged.rotate("tuf-root"), "1.0")
    assert take(tmp_path / "releases", memory(aged)).manifest.version == "1.0"


def test_what_was_lost_or_rotted_comes_back(own: Keyring, tmp_path: Path) -> None:
    directory, keyring = tmp_path / "releases", own.rotate("tuf-root").rotate("tuf-root")
    publish(directory, keyring, "1.0")
    chunk = directory / chunk_path(release("1.0")[0].chunks[0].sha256)
    before = chunk.read_bytes()
    chunk.write_bytes(before[:-1])
    (directory / "2.root.json").unlink()
    publish(directory, keyring, "1.0")
    assert chunk.read_bytes() == before
    assert take(directory, memory(own)).manifest.version == "1.0"
