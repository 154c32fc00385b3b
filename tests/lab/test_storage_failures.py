"""A guest's storage that fills up, is pulled out and put in again, on a real server with real libvirt.

The guest is a boot sector that writes to its disk until there is no room, and goes on after each start. A server of its
own, with a small disk on its USB port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.api.types import GuestState, NodeReport, StorageReport, StorageState
from flashvisor.host.clock import ticks
from flashvisor.lab.machine import FLASH_BUS
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import connect, power_on, run_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.lab.server import Server
    from flashvisor.lab.trial import Materials
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

MIB = 1 << 20  # bytes
LIMIT = 300.0  # seconds, on a busy machine
DISK = 96 * MIB  # bytes of the storage
STICK = "extra"  # the flash has the other name

SITE = """\
schema = 1
[node]
name = "alpha"
[storage.main]
serial = "lab-data0"
[storage.small]
serial = "stick"
[image.writer]
file = "writer.img"
[guest.writer]
image = "writer"
storage = "small"
firmware = "bios"
memory = "64MiB"
disk = "512MiB"
"""

# As in tests/tools/test_storage_failures.py, with an end at 256 MiB: more than the storage has.
WRITER = bytes.fromhex(
    "31c08ed88816387cbe397c8a16387cb80043cd13b02e7302b045baf803ee668106417c80000000"
    "66813e417c0000080076d6b021eef4ebfd00100040000000001080"
).ljust(510, b"\0") + bytes.fromhex("55aa")


def put(server: Server, disk: Path) -> None:
    with server._monitor() as qmp:
        qmp.execute("blockdev-add", driver="file", node_name=STICK, filename=str(disk))
        qmp.execute("device_add", driver="usb-storage", id=STICK, bus=FLASH_BUS, drive=STICK, serial="stick")


def pull(server: Server) -> None:
    with server._monitor() as qmp:
        qmp.execute("device_del", id=STICK)
        qmp.wait_event("DEVICE_DELETED", limit=30)
        qmp.execute("blockdev-del", node_name=STICK)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "stick.img"
    with path.open("wb") as file:
        file.truncate(DISK)
    return path


@pytest.fixture(scope="module")
def own(files: Materials, owner: Keyring, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose guest writes to the small storage."""
    place = tmp_path_factory.mktemp("storage")
    (place / "writer.img").write_bytes(WRITER.ljust(MIB, b"\0"))
    (place / "site.toml").write_text(SITE)
    rack = Rack(place / "rack")
    try:
        server = power_on(rack, "storage", files)
        put(server, disk)
        with connect(server, owner) as client:
            assert any("stick" in {each.serial for each in client.node().disks} for _ in ticks(1.0, LIMIT))
        run_site(server, owner, place / "site.toml")
        yield server
    finally:
        rack.down_all()


def small(report: NodeReport) -> StorageReport:
    return next(storage for storage in report.storages if storage.name == "small")


def comes(server: Server, owner: Keyring, condition: Callable[[NodeReport], bool]) -> NodeReport:
    """Returns the server's report once it is as wished."""
    with connect(server, owner) as client:
        for _ in ticks(1.0, LIMIT):
            report = client.node()
            if condition(report):
                return report
    raise AssertionError(report)


def test_a_full_storage_pauses_its_guest_and_says_so(own: Server, owner: Keyring) -> None:
    full = "FV-NODE-062: storage small is full"
    report = comes(own, owner, lambda report: any(full in each and "writer waits" in each for each in report.problems))
    assert small(report).state is StorageState.FULL
    assert small(report).waiting == ("writer",)
    with connect(own, owner) as client:
        guest = client.guest("writer")
    assert guest.state is GuestState.PAUSED
    assert guest.problem.startswith("paused: storage small is full")


def test_a_pulled_disk_is_told_and_its_guest_waits(own: Server, owner: Keyring) -> None:
    pull(own)
    report = comes(own, owner, lambda report: any("FV-NODE-064" in each for each in report.problems))
    assert small(report).state is StorageState.GONE
    assert small(report).waiting == ("writer",)


def test_when_the_disk_is_back_the_guest_is_started_anew(own: Server, owner: Keyring, disk: Path) -> None:
    put(own, disk)
    comes(own, owner, lambda report: small(report).state not in (StorageState.GONE, StorageState.UNKNOWN))
    with connect(own, owner) as client:
        assert any(client.guest("writer").restarts == 1 for _ in ticks(1.0, LIMIT))
    # It finds its disk as it left it, and no room again.
    comes(own, owner, lambda report: small(report).waiting == ("writer",) and small(report).state is StorageState.FULL)
