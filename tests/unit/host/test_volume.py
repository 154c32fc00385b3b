"""What is mounted: its room, its errors, its device's answers."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from flashvisor.host.volume import Reading, look

# Reads 10 in 20 ms, writes 5 in 30 ms, 4 in flight, discards 3 in 40 ms, flushes 2 in 10 ms.
STAT = "10 0 80 20 5 0 40 30 4 0 0 3 0 24 40 2 10"


NUMBER = "259:0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A /sys with one device."""
    real = tmp_path / "sys/devices/nvme0n1"
    (real / "device").mkdir(parents=True)
    (real / "stat").write_text(STAT)
    (tmp_path / "sys/fs/ext4/nvme0n1").mkdir(parents=True)
    (tmp_path / "sys/fs/ext4/nvme0n1/errors_count").write_text("0\n")
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    (tmp_path / "sys/dev/block" / NUMBER).symlink_to(real)
    return tmp_path


def test_room_and_answers(root: Path) -> None:
    found = look(root, NUMBER, root)
    usage = shutil.disk_usage(root)
    assert found.size == usage.total
    assert 0 < found.free <= found.size
    assert (found.answered, found.in_flight, found.present, found.read_only) == (20, 4, True, False)
    assert found.waited == pytest.approx(0.1)


def test_a_device_of_before_linux_5_5_counts_no_flushes(root: Path) -> None:
    (root / "sys/devices/nvme0n1/stat").write_text(" ".join(STAT.split()[:11]))
    found = look(root, NUMBER, root)
    assert (found.answered, found.in_flight) == (15, 4)


def test_ext4_that_met_an_error_takes_no_writes(root: Path) -> None:
    (root / "sys/fs/ext4/nvme0n1/errors_count").write_text("3\n")
    assert look(root, NUMBER, root).read_only


@pytest.mark.parametrize(("word", "present"), [("running", True), ("offline", False), ("transport-offline", False)])
def test_scsi_says_when_a_device_answers_no_more(root: Path, word: str, *, present: bool) -> None:
    (root / "sys/devices/nvme0n1/device/state").write_text(f"{word}\n")
    assert look(root, NUMBER, root).present is present


def test_a_device_that_was_pulled(root: Path) -> None:
    shutil.rmtree(root / "sys/devices/nvme0n1")
    found = look(root, NUMBER, root)
    assert not found.present
    assert (found.answered, found.in_flight) == (0, 0)


def test_a_mirror_says_how_much_of_it_works(root: Path) -> None:
    (root / "sys/devices/nvme0n1/md").mkdir()
    (root / "sys/devices/nvme0n1/md/degraded").write_text("1\n")
    (root / "sys/devices/nvme0n1/md/sync_completed").write_text("none\n")
    found = look(root, NUMBER, root)
    assert (found.missing, found.filled) == (1, None)
    (root / "sys/devices/nvme0n1/md/sync_completed").write_text("250 / 1000\n")
    assert look(root, NUMBER, root).filled == pytest.approx(0.25)


def test_where_nothing_answers(root: Path) -> None:
    assert look(root / "none", NUMBER, root) == Reading(size=0, free=0, present=False)


def test_xfs_that_met_an_error_refuses_stat(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path == root:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return stat(path, **options)

    (root / "sys/fs/ext4/nvme0n1/errors_count").unlink()
    assert not look(root, NUMBER, root).read_only
    monkeypatch.setattr(Path, "stat", refuse)
    assert look(root, NUMBER, root).read_only


def test_what_is_on_the_network_has_no_device(root: Path) -> None:
    found = look(root, "0:47", root)
    assert (found.remote, found.present, found.answered) == (True, True, 0)
    assert look(root / "none", "0:47", root) == Reading(size=0, free=0, present=False, remote=True)
