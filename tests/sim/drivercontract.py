"""What every driver of guests must do: subclass `DriverContract` and give it a rig.

Used by tests/unit for the fake and the simulated libvirt, and by tests/lab for the real one.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import GuestSilentError, GuestStateError, HypervisorError
from flashvisor.guests.domain import Disk, DiskFormat
from flashvisor.guests.driver import DiskFault, GuestEvent
from flashvisor.model.guest import GuestState

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.guests.domain import DomainSpec
    from flashvisor.guests.driver import Driver

PATIENCE = 30.0  # seconds; a real hypervisor under emulation is slow


@dataclass
class Rig:
    """A driver, a spec that it can start, and what no driver does.

    `crash` has a guest's kernel panic, `again` makes a second driver, `fail_disk` lets a disk be full or fail, `bite`
    has a watchdog run out and reset its guest, `wake_agent` has a guest's agent answer.
    """

    driver: Driver
    spec: DomainSpec
    crash: Callable[[str], None]
    again: Callable[[], Driver]
    fail_disk: Callable[[str, DiskFault], None]
    bite: Callable[[str], None]
    wake_agent: Callable[[str], None]


def listen(driver: Driver) -> queue.Queue[GuestEvent]:
    events: queue.Queue[GuestEvent] = queue.Queue()
    driver.subscribe(events.put)
    return events


def until(events: queue.Queue[GuestEvent], state: GuestState) -> list[GuestEvent]:
    """All events up to the first of this state."""
    seen = [events.get(timeout=PATIENCE)]
    while seen[-1].state != state:
        seen.append(events.get(timeout=PATIENCE))
    return seen


class DriverContract:
    """The contract of guests/driver.py."""

    @pytest.fixture
    def rig(self) -> Rig:
        raise NotImplementedError

    def test_says_its_version(self, rig: Rig) -> None:
        assert rig.driver.version()
        assert "\n" not in rig.driver.version()

    def test_starts_empty(self, rig: Rig) -> None:
        assert rig.driver.domains() == {}

    def test_a_started_guest_runs_and_is_announced(self, rig: Rig) -> None:
        events = listen(rig.driver)
        rig.driver.start(rig.spec)
        assert rig.driver.domains() == {rig.spec.name: GuestState.RUNNING}
        assert events.get(timeout=PATIENCE) == GuestEvent(rig.spec.name, GuestState.RUNNING, "runs")

    def test_a_guest_is_started_once(self, rig: Rig) -> None:
        rig.driver.start(rig.spec)
        with pytest.raises(GuestStateError, match=rig.spec.name):
            rig.driver.start(rig.spec)
        assert list(rig.driver.domains()) == [rig.spec.name]

    def test_force_ends_a_guest(self, rig: Rig) -> None:
        events = listen(rig.driver)
        rig.driver.start(rig.spec)
        rig.driver.stop(rig.spec.name, force=True)
        assert until(events, GuestState.STOPPED)[-1].reason == "stopped by force"
        assert rig.driver.domains() == {}

    def test_a_guest_can_be_started_again(self, rig: Rig) -> None:
        events = listen(rig.driver)
        for _ in range(2):
            rig.driver.start(rig.spec)
            rig.driver.stop(rig.spec.name, force=True)
            until(events, GuestState.STOPPED)
        assert events.empty()

    @pytest.mark.parametrize("force", [False, True])
    def test_what_does_not_run_cannot_be_stopped(self, rig: Rig, *, force: bool) -> None:
        with pytest.raises(GuestStateError, match="nobody"):
            rig.driver.stop("nobody", force=force)

    def test_the_power_button_is_no_error(self, rig: Rig) -> None:
        rig.driver.start(rig.spec)
        rig.driver.stop(rig.spec.name, force=False)

    def test_a_crash_is_told_once(self, rig: Rig) -> None:
        events = listen(rig.driver)
        rig.driver.start(rig.spec)
        rig.crash(rig.spec.name)
        until(events, GuestState.CRASHED)
        assert rig.driver.domains() == {}
        rig.driver.start(rig.spec)
        assert events.get(timeout=PATIENCE).state == GuestState.RUNNING

    def test_a_guest_that_is_to_be_kept_is_there_after_its_crash(self, rig: Rig) -> None:
        events = listen(rig.driver)
        rig.driver.start(replace(rig.spec, keep=True))
        rig.crash(rig.spec.name)
        assert until(events, GuestState.KEPT)[-1].reason == "its kernel panicked"
        assert rig.driver.domains() == {rig.spec.name: GuestState.KEPT}
        with pytest.raises(GuestStateError):
            rig.driver.start(rig.spec)
        rig.driver.stop(rig.spec.name, force=True)
        until(events, GuestState.STOPPED)
        assert rig.driver.domains() == {}

    def test_a_watchdog_that_ran_out_is_told_each_time(self, rig: Rig) -> None:
        events = listen(rig.driver)
        rig.driver.start(rig.spec)
        until(events, GuestState.RUNNING)
        for _ in range(2):
            rig.bite(rig.spec.name)
            fired = GuestEvent(rig.spec.name, GuestState.RUNNING, "its watchdog reset it", watchdog=True)
            assert events.get(timeout=PATIENCE) == fired
        assert rig.driver.domains() == {rig.spec.name: GuestState.RUNNING}

    def test_an_agent_answers_once_it_is_there(self, rig: Rig) -> None:
        with pytest.raises(GuestStateError):
            rig.driver.ask_agent(rig.spec.name, 1.0)
        rig.driver.start(replace(rig.spec, agent=True))
        with pytest.raises(GuestSilentError, match=rig.spec.name):
            rig.driver.ask_agent(rig.spec.name, 1.0)
        rig.wake_agent(rig.spec.name)
        rig.driver.ask_agent(rig.spec.name, 1.0)

    @pytest.mark.parametrize("fault", [DiskFault("/d/disk.qcow2", full=True), DiskFault("/d/disk.qcow2")])
    def test_a_disk_that_fails_pauses_its_guest_until_a_resume(self, rig: Rig, fault: DiskFault) -> None:
        events = listen(rig.driver)
        rig.driver.start(rig.spec)
        assert rig.driver.stalled() == frozenset()
        rig.fail_disk(rig.spec.name, fault)
        paused = until(events, GuestState.PAUSED)[-1]
        assert (paused.name, paused.fault) == (rig.spec.name, fault)
        assert rig.driver.domains() == {rig.spec.name: GuestState.PAUSED}
        assert rig.driver.stalled() == {rig.spec.name}
        rig.driver.resume(rig.spec.name)
        assert until(events, GuestState.RUNNING)[-1].fault is None
        assert rig.driver.stalled() == frozenset()

    def test_who_waits_for_a_disk_is_known_to_the_next_driver(self, rig: Rig) -> None:
        rig.driver.start(rig.spec)
        rig.fail_disk(rig.spec.name, DiskFault("/d/disk.qcow2", full=True))
        rig.driver.close()
        assert rig.again().stalled() == {rig.spec.name}

    def test_only_what_is_paused_is_resumed(self, rig: Rig) -> None:
        with pytest.raises(GuestStateError, match="nobody"):
            rig.driver.resume("nobody")
        rig.driver.start(rig.spec)
        with pytest.raises(GuestStateError, match="not paused"):
            rig.driver.resume(rig.spec.name)

    def test_a_guest_that_waits_can_be_ended(self, rig: Rig) -> None:
        events = listen(rig.driver)
        rig.driver.start(rig.spec)
        rig.fail_disk(rig.spec.name, DiskFault("/d/disk.qcow2"))
        rig.driver.stop(rig.spec.name, force=True)
        until(events, GuestState.STOPPED)
        assert rig.driver.stalled() == frozenset()

    def test_a_subscription_ends(self, rig: Rig) -> None:
        lost: queue.Queue[GuestEvent] = queue.Queue()
        end = rig.driver.subscribe(lost.put)
        end()
        end()
        events = listen(rig.driver)
        rig.driver.start(rig.spec)
        until(events, GuestState.RUNNING)
        assert lost.empty()

    def test_a_failing_listener_harms_nobody(self, rig: Rig) -> None:
        def fail(_event: GuestEvent) -> None:
            raise ValueError("a bug")

        rig.driver.subscribe(fail)
        events = listen(rig.driver)
        rig.driver.start(rig.spec)
        until(events, GuestState.RUNNING)

    def test_knows_the_console(self, rig: Rig) -> None:
        with pytest.raises(GuestStateError):
            rig.driver.console_socket(rig.spec.name)
        rig.driver.start(rig.spec)
        assert rig.driver.console_socket(rig.spec.name) == Path(rig.spec.console_socket)

    def test_guests_outlive_their_driver(self, rig: Rig) -> None:
        rig.driver.start(rig.spec)
        rig.driver.close()
        again = rig.again()
        assert again.domains() == {rig.spec.name: GuestState.RUNNING}
        assert again.console_socket(rig.spec.name) == Path(rig.spec.console_socket)
        again.stop(rig.spec.name, force=True)

    def test_a_refusal_is_told_in_the_hypervisors_words(self, rig: Rig) -> None:
        broken = replace(rig.spec, disks=(Disk("/nowhere/disk", DiskFormat.RAW),))
        with pytest.raises(HypervisorError, match="No such file") as caught:
            rig.driver.start(broken)
        assert rig.spec.name in caught.value.what
        assert "/nowhere/disk" in caught.value.evidence
        assert rig.driver.domains() == {}
