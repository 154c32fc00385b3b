"""Which array runs on which disks, read from /sys; and what mdadm is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashvisor.host import mdadm
from flashvisor.host.run import Completed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An array md1 of sda and the faulty sdb; md0 is something else's."""
    for array, devices in {"md0": {"sdc": "in_sync"}, "md1": {"sda": "in_sync", "sdb": "faulty"}}.items():
        place = tmp_path / "sys/block" / array
        for device, state in devices.items():
            (place / "slaves" / device).mkdir(parents=True)
            (place / f"md/dev-{device}").mkdir(parents=True)
            (place / f"md/dev-{device}/state").write_text(f"{state}\n")
    (tmp_path / "sys/block/sda").mkdir()
    return tmp_path


def test_the_array_of_a_disk(root: Path) -> None:
    assert mdadm.array_of([Path("/dev/sdz"), Path("/dev/sda")], root) == Path("/dev/md1")
    assert mdadm.array_of([Path("/dev/sdz")], root) is None
    assert mdadm.array_of([], root) is None


def test_a_faulty_disk_is_no_member(root: Path) -> None:
    assert mdadm.members(Path("/dev/md1"), root) == {"sda"}


def test_a_disk_that_is_pulled_out_while_it_is_looked_at_is_no_member(root: Path) -> None:
    (root / "sys/block/md1/md/dev-sdb/state").unlink()
    assert mdadm.members(Path("/dev/md1"), root) == {"sda"}


def test_what_is_an_array(root: Path) -> None:
    assert mdadm.is_array(Path("/dev/md1"), root)
    assert not mdadm.is_array(Path("/dev/sda"), root)
    assert not mdadm.is_array(Path("nas:/md1"), root), "an NFS export of that name"


def test_a_disk_that_failed_makes_room_before_another_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def run(argv: list[object], **_: object) -> Completed:
        calls.append(" ".join(map(str, argv)))
        return Completed("", "", "")

    monkeypatch.setattr(mdadm, "run", run)
    mdadm.add(Path("/dev/md0"), Path("/dev/sdc"))
    assert calls == [
        "mdadm /dev/md0 --remove detached",
        "mdadm /dev/md0 --remove failed",
        "mdadm /dev/md0 --add /dev/sdc",
    ]
    assert mdadm.create("fv-main", [Path("/dev/sda"), Path("/dev/sdb")]).name.startswith("md")
    assert "--level=1" in calls[-1]
    assert calls[-1].endswith("--name=fv-main /dev/sda /dev/sdb")
