"""Reports, from facts to words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flashvisor.api.types import GuestState
from flashvisor.errors import HypervisorError
from flashvisor.guests.fake import FakeDriver
from flashvisor.host.journal import Entry
from flashvisor.node.guestrecord import CRASHED, Record
from flashvisor.node.report import Sources, guest_report, log_lines, node_report, protections
from flashvisor.node.timeline import Timeline
from sim.nodekit import SECOND_GUEST, SITE, Server, desired, server

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def sources(made: Server) -> Sources:
    timeline = Timeline(lambda _: None, lambda: 1.0)
    return Sources(
        "alpha",
        made.machine,
        made.driver,
        made.reconciler,
        timeline,
        made.problems,
        made.state,
        made.wear,
        made.storages,
    )


def test_a_guest_at_a_glance() -> None:
    report = guest_report("hello", desired(), Record("hello", started=4.0, answered=5.5), GuestState.RUNNING)
    assert (report.state, report.started, report.answered) == (GuestState.RUNNING, 4.0, 5.5)
    assert (report.memory, report.cpus, report.image) == (64 << 20, 1, "hello")
    assert report.forwards == ("tcp/8080 -> 10.77.0.10:80",)


def test_a_guest_that_the_hypervisor_does_not_know_is_stopped_or_crashed() -> None:
    wish = desired(SITE + SECOND_GUEST)
    assert guest_report("second", wish, Record("second"), None).state is GuestState.STOPPED
    crashed = Record("second", problem=f"{CRASHED}its kernel panicked")
    assert guest_report("second", wish, crashed, None).state is GuestState.CRASHED


def test_a_guest_that_waits_failed_or_hung_says_so() -> None:
    record = Record("hello", waits="for guest db to answer", failure="QEMU died", failed=7.5, watchdogs=3)
    report = guest_report("hello", desired(SITE + "probe = { tcp = 22 }\n"), record, None)
    assert (report.waits, report.failure, report.failed, report.watchdogs) == (
        "for guest db to answer",
        "QEMU died",
        7.5,
        3,
    )
    assert report.probe == "TCP 10.77.0.10:22"
    assert guest_report("hello", desired(SITE), record, GuestState.KEPT).state is GuestState.KEPT


def test_a_server_at_a_glance(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.bring_up()
        made.storages.look()
        report = node_report(sources(made))
    assert (report.name, report.site_generation, report.unconfirmed) == ("alpha", 1, False)
    assert [(nic.name, nic.addresses) for nic in report.nics] == [("eth0", ("192.0.2.10/24",))]
    assert [(disk.serial, disk.use) for disk in report.disks] == [("data0", "storage main")]
    assert [(each.name, each.state, each.guests) for each in report.storages] == [("main", "ok", ("hello",))]
    assert report.memory == 4 << 30
    assert report.problems == ()


def test_a_hypervisor_that_does_not_answer_is_a_problem_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_driver: FakeDriver) -> str:
        raise HypervisorError("libvirt could not be asked")

    monkeypatch.setattr(FakeDriver, "version", refuse)
    with server(tmp_path) as made:
        report = node_report(sources(made))
    assert report.hypervisor == ""
    assert report.problems == ("FV-GUEST-003: libvirt could not be asked",)
    assert report.nics


def test_every_protection_says_what_it_means() -> None:
    names = {item.name for item in protections(None)}
    assert names == {
        "Secure Boot",
        "kernel lockdown",
        "signed modules",
        "TPM 2.0",
        "read-only root",
        "hardware watchdog",
    }
    assert all(item.meaning for item in protections(None))


def test_log_lines_keep_their_fields() -> None:
    entry = Entry(seconds=3.5, unit="a.service", priority=4, text="hm")
    (line, other) = log_lines([entry, replace(entry, text="ha")])
    assert (line.seconds, line.unit, line.priority, line.text) == (3.5, "a.service", 4, "hm")
    assert other.text == "ha"
