"""Apply, confirm, revert, boot: on fakes, with a clock that stands still."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import (
    BusyError,
    CommandFailedError,
    ForeignDataError,
    HypervisorError,
    ImageNotUploadedError,
    NoDataDiskError,
    NoSuchCardError,
    NotEnoughMemoryError,
    NothingToConfirmError,
    UnknownKeyError,
)
from flashvisor.host.blkid import Signature
from flashvisor.node.fakemachine import FakeMachine, blank_disk
from flashvisor.node.storage import DataDisk
from sim.nodekit import SECOND_GUEST, SITE, Server, request, server, sha256, uki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.node.network import NetworkPlan

BOTH = SITE + SECOND_GUEST


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path) as made:
        yield made


def running(made: Server) -> list[str]:
    return sorted(made.driver.domains())


def test_from_plan_over_upload_to_a_running_guest(made: Server) -> None:
    report = made.reconciler.plan(request())
    assert report.missing_images == (sha256(uki()),)
    assert made.machine.formatted == []
    made.upload()
    assert made.machine.formatted == ["/dev/fake-data0"]
    applied = made.reconciler.apply(request())
    assert (applied.generation, applied.confirm_within) == (1, 60.0)
    assert running(made) == ["hello"]
    assert made.machine.network is not None
    assert made.machine.network.bridges == ("br-inside",)
    spec = made.driver.spec("hello")
    assert spec.cards[0].bridge == "br-inside"
    assert spec.console_socket.endswith("/console/hello.sock")


def test_a_plan_changes_nothing(made: Server) -> None:
    made.reconciler.plan(request())
    assert (running(made), made.machine.network, made.flash.writes) == ([], None, [])


def test_an_unconfirmed_site_goes_back_when_its_time_is_up(made: Server) -> None:
    made.bring_up()
    made.reconciler.apply(request(BOTH, confirm_within=60.0))
    assert running(made) == ["hello", "second"]
    made.clock[0] += 59.9
    made.reconciler.tick()
    assert running(made) == ["hello", "second"]
    made.clock[0] += 0.1
    made.reconciler.tick()
    assert running(made) == ["hello"]
    assert made.reconciler.site().generation == 1
    with pytest.raises(NothingToConfirmError, match="taken back"):
        made.reconciler.confirm()


def test_going_back_from_the_first_site_leaves_nothing_running(made: Server) -> None:
    made.reconciler.plan(request())
    made.upload()
    made.reconciler.apply(request())
    made.clock[0] += 60.0
    made.reconciler.tick()
    assert running(made) == []
    assert made.reconciler.site().generation == 0
    assert made.machine.network is not None
    assert made.machine.network.bridges == ()


HERE = 'name = "alpha"\nuplink = { mac = "52:54:00:00:00:01", vlan = 7 }'
MOVED = SITE.replace('name = "alpha"', HERE) + '\n[network.lan]\nkind = "bridge"\nvlan = 20\n'


def devices(made: Server) -> tuple[str, ...]:
    assert made.machine.network is not None
    return made.machine.network.devices


def test_a_management_network_that_nobody_confirms_goes_back_to_its_card(made: Server) -> None:
    made.bring_up()
    before = made.machine.network
    made.reconciler.apply(request(MOVED, confirm_within=60.0))
    assert devices(made) == ("br-inside", "uv-7", "uc-525400000001")
    made.clock[0] += 60.0
    made.reconciler.tick()
    assert made.machine.network == before
    assert running(made) == ["hello"]


def test_a_management_network_that_fails_halfway_goes_back_at_once(made: Server) -> None:
    made.bring_up()
    before, configure = made.machine.network, made.machine.configure

    def fail_once(wish: NetworkPlan) -> None:
        made.machine.configure = configure  # type: ignore[method-assign]
        configure(wish)
        raise CommandFailedError("systemctl failed")

    made.machine.configure = fail_once  # type: ignore[method-assign]
    with pytest.raises(CommandFailedError):
        made.reconciler.apply(request(MOVED))
    assert made.machine.network == before


def test_a_card_that_the_server_lacks_is_refused_before_anything_changes(made: Server) -> None:
    made.bring_up()
    before = made.machine.network
    with pytest.raises(NoSuchCardError, match="52:54:00:00:00:99"):
        made.reconciler.apply(request(MOVED.replace("00:01", "00:99")))
    assert made.machine.network is before


def test_a_management_network_that_nobody_confirmed_is_undone_when_the_agent_restarts(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.bring_up(SITE)
        before = made.machine.network
        made.reconciler.apply(request(MOVED))
    with server(tmp_path, flash=made.flash, machine=made.machine, driver=made.driver) as again:
        again.boot()
        assert again.machine.network == before
        assert running(again) == ["hello"]


def test_a_management_network_that_nobody_confirmed_does_not_come_back_after_a_reboot(tmp_path: Path) -> None:
    with server(tmp_path / "first") as made:
        made.bring_up(SITE)
        made.reconciler.apply(request(MOVED))
    with server(tmp_path / "second", flash=made.flash, machine=FakeMachine(made.machine.disks())) as again:
        again.boot()
        assert devices(again) == ("br-inside",)


def test_a_confirmed_site_stays(made: Server) -> None:
    made.bring_up(BOTH)
    made.clock[0] += 1e6
    made.reconciler.tick()
    assert running(made) == ["hello", "second"]
    assert made.reconciler.due is None
    assert made.reconciler.site().confirmed


def test_confirming_twice_is_fine_and_writes_once(made: Server) -> None:
    made.bring_up()
    before = len(made.flash.writes)
    assert made.reconciler.confirm().generation == 1
    assert len(made.flash.writes) == before


def test_nothing_to_confirm(made: Server) -> None:
    with pytest.raises(NothingToConfirmError, match="no site was applied"):
        made.reconciler.confirm()


def test_the_same_site_again_writes_nothing_to_flash(made: Server) -> None:
    made.bring_up()
    before = len(made.flash.writes)
    assert made.reconciler.apply(request()).generation == 1
    assert made.reconciler.confirm().generation == 1
    assert len(made.flash.writes) == before


def test_a_step_that_fails_takes_all_back_at_once(made: Server) -> None:
    made.bring_up()
    made.driver.fail_next("no memory left")
    with pytest.raises(HypervisorError):
        made.reconciler.apply(request(SITE.replace("64MiB", "96MiB")))
    assert running(made) == ["hello"]
    assert made.driver.spec("hello").memory == 64 << 20
    assert made.reconciler.site().generation == 1
    assert made.reconciler.due is None


def test_a_second_apply_before_confirming_still_goes_back_to_the_confirmed_site(made: Server) -> None:
    made.bring_up()
    made.reconciler.apply(request(BOTH))
    made.reconciler.apply(request(BOTH.replace("64MiB", "96MiB"), confirm_within=5.0))
    made.clock[0] += 5.0
    made.reconciler.tick()
    assert made.reconciler.site().generation == 1
    assert running(made) == ["hello"]
    assert made.driver.spec("hello").memory == 64 << 20


def test_a_bad_site_changes_nothing(made: Server) -> None:
    with pytest.raises(UnknownKeyError):
        made.reconciler.apply(request().__class__(site_toml=SITE + "\nnonsense = 1\n"))
    assert made.flash.writes == []


def test_what_the_server_cannot_do_is_said_by_plan_and_apply(made: Server) -> None:
    much = SITE.replace("64MiB", "64GiB")
    with pytest.raises(NotEnoughMemoryError, match="64 GiB"):
        made.reconciler.plan(request(much))
    with pytest.raises(NoDataDiskError):
        made.reconciler.plan(request(SITE.replace("data0", "data9")))
    with pytest.raises(ImageNotUploadedError):
        made.reconciler.apply(request())
    assert made.flash.writes == []


def test_foreign_data_is_never_touched(tmp_path: Path) -> None:
    disk = blank_disk("data0")
    foreign = DataDisk(disk.device, disk.names, "data0", "fake", disk.size, Signature("ntfs", "photos"))
    with server(tmp_path, machine=FakeMachine((foreign,))) as made:
        with pytest.raises(ForeignDataError, match="ntfs 'photos'"):
            made.reconciler.plan(request())
        with pytest.raises(ForeignDataError):
            made.reconciler.apply(request())
        assert made.machine.formatted == []


def test_an_upload_without_a_plan_goes_to_ram(made: Server) -> None:
    made.upload()
    assert made.machine.formatted == []
    assert made.reconciler.library().digests() == {sha256(uki())}


def test_after_a_cut_of_power_the_guests_start_by_themselves(tmp_path: Path) -> None:
    with server(tmp_path / "first") as made:
        made.bring_up(BOTH)
        made.reconciler.apply(request(SITE))  # not confirmed: the reboot takes it back
        flash, machine = made.flash, made.machine
        store = made.settings.storage("main")
    with server(tmp_path / "second", flash=flash, machine=FakeMachine(machine.disks())) as made:
        # The disk keeps what was on it.
        made.settings.storage("main").parent.mkdir(parents=True)
        store.rename(made.settings.storage("main"))
        before = len(flash.writes)
        made.boot()
        assert running(made) == ["hello", "second"]
        assert made.reconciler.site().generation == 1
        assert made.problems.all() == ()
        assert len(flash.writes) == before
        assert [line for line in made.said if "stage=guest-hello-started" in line]


def test_a_restarted_agent_finds_its_guests_again_and_restarts_none(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.bring_up(BOTH)
    spec = made.driver.spec("hello")
    with server(tmp_path, flash=made.flash, machine=made.machine, driver=made.driver) as again:
        again.boot()
        assert again.driver.spec("hello") is spec
        assert not [line for line in again.said if "started" in line]
        assert again.keeper.record("hello").started is not None


def test_a_restarted_agent_takes_an_unconfirmed_site_back(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.bring_up(SITE)
        made.reconciler.apply(request(BOTH.replace("64MiB", "96MiB", 1)))
    with server(tmp_path, flash=made.flash, machine=made.machine, driver=made.driver) as again:
        again.boot()
        assert running(again) == ["hello"]
        assert again.driver.spec("hello").memory == 64 << 20


def test_at_boot_a_missing_disk_is_a_problem_and_the_networks_stand(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.bring_up()
    with server(tmp_path, flash=made.flash, machine=FakeMachine()) as again:
        again.boot()
        assert again.machine.network is not None
        assert again.machine.network.bridges == ("br-inside",)
        assert any("FV-NODE-002" in line for line in again.problems.all())
        assert any("FV-NODE-002" in line for line in again.said)
        assert running(again) == []


def test_at_boot_a_damaged_disk_is_not_mounted_and_its_guests_are_held_back(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.bring_up()
    machine = FakeMachine(made.machine.disks())
    machine.damaged.update(disk.device for disk in machine.disks())
    with server(tmp_path, flash=made.flash, machine=machine) as again:
        again.boot()
        assert any("FV-NODE-016" in line for line in again.problems.all())
        assert any("hello" in line for line in again.problems.all())
        assert not again.machine.is_mounted(again.settings.storage("main"))
        assert running(again) == []


def test_at_boot_one_guest_that_fails_does_not_keep_the_other_down(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.bring_up(BOTH)
    with server(tmp_path / "b", flash=made.flash, machine=FakeMachine(made.machine.disks())) as again:
        again.settings.storage("main").parent.mkdir(parents=True)
        made.settings.storage("main").rename(again.settings.storage("main"))
        again.driver.fail_next("broken")
        again.boot()
        assert "second" in running(again)
        assert any("hello" in line for line in again.problems.all())


def test_a_second_change_is_refused_while_one_is_under_way(made: Server) -> None:
    made.bring_up()
    inside, go_on = threading.Event(), threading.Event()

    def slow(_wish: object) -> None:
        inside.set()
        assert go_on.wait(10)

    made.machine.configure = slow  # type: ignore[assignment]
    thread = threading.Thread(target=lambda: made.reconciler.apply(request(SITE.replace("8080", "8081"))))
    thread.start()
    assert inside.wait(10)
    with pytest.raises(BusyError, match="an apply"):
        made.reconciler.apply(request(BOTH))
    go_on.set()
    thread.join()
    assert made.reconciler.site().generation == 2
