"""Mounting exports: which address, which version, which words when it fails. A server that only accepts is played."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import CommandFailedError, CommandTimeoutError, NfsError
from flashvisor.host import mount, nfs
from flashvisor.model.nfsexport import Export

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = Export("127.0.0.1", "/vm")


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody accepts connections where the NFS server should be."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(nfs, "PORT", server.getsockname()[1])
        yield


class Mounts:
    """Stands for mount(8): refuses the versions that it is told to."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.done: list[tuple[str, dict[str, object]]] = []

    def __call__(self, source: str, target: Path, **words: object) -> None:
        del target
        self.done.append((source, words))
        if any(f"vers={version}," in str(words["options"]) for version in self.refused):
            raise CommandFailedError("mount ended with status 32", evidence="Protocol not supported")


def test_the_kernel_is_given_an_address_and_no_helper_is_called(
    listening: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost_locks = tmp_path / "recover_lost_locks"
    monkeypatch.setattr(nfs, "LOST_LOCKS", lost_locks)
    mounts = Mounts()
    monkeypatch.setattr(mount, "mount", mounts)
    nfs.mount_export(HERE, tmp_path)
    ((source, words),) = mounts.done
    assert source == "127.0.0.1:/vm"
    assert (words["kind"], words["internal"]) == ("nfs4", True)
    options = str(words["options"]).split(",")
    assert lost_locks.read_text() == "Y"
    assert {"vers=4.2", "addr=127.0.0.1", "proto=tcp", "softerr", "nodev", "nosuid"} <= set(options)


def test_an_older_server_is_asked_for_4_1(listening: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = Mounts("4.2")
    monkeypatch.setattr(mount, "mount", mounts)
    # A kernel without that switch is no reason to do without the storage.
    monkeypatch.setattr(nfs, "LOST_LOCKS", tmp_path / "none" / "recover_lost_locks")
    nfs.mount_export(HERE, tmp_path)
    assert ["vers=4.2" in str(words["options"]) for _, words in mounts.done] == [True, False]


def test_a_refusal_is_told_in_the_kernels_words(
    listening: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mount, "mount", Mounts(*nfs.VERSIONS))
    with pytest.raises(NfsError, match=r"127\.0\.0\.1:/vm cannot be mounted") as caught:
        nfs.mount_export(HERE, tmp_path)
    assert "Protocol not supported" in caught.value.evidence


def test_a_server_that_accepts_and_says_nothing_is_asked_once(
    listening: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[object] = []

    def hang(*_: object, **words: object) -> None:
        limits.append(words["limit"])
        raise CommandTimeoutError("mount did not end within 30 s", evidence="mount -t nfs4")

    monkeypatch.setattr(mount, "mount", hang)
    with pytest.raises(NfsError, match="says nothing for 30 s"):
        nfs.mount_export(HERE, tmp_path)
    assert limits == [nfs.LIMIT], "whoever waits here holds up the other storages"


def test_a_server_that_does_not_answer_is_not_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(nfs, "PORT", server.getsockname()[1])
    monkeypatch.setattr(mount, "mount", Mounts())
    with pytest.raises(NfsError, match="does not answer") as caught:
        nfs.mount_export(HERE, tmp_path)
    assert "127.0.0.1: Connection refused" in caught.value.evidence


def test_a_name_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **_words: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NfsError, match=r"nas\.invalid has no address: Name or service not known"):
        nfs.mount_export(Export("nas.invalid", "/vm"), tmp_path)
