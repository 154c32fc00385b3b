"""What the fake can be told, beyond the contract."""

from __future__ import annotations

import queue
from dataclasses import replace

import pytest

from flashvisor.errors import GuestStateError, HypervisorError
from flashvisor.guests.driver import DiskFault, GuestEvent
from flashvisor.guests.fake import FakeDriver
from flashvisor.model.guest import GuestState
from unit.guests.golden_specs import SPECS

SPEC = SPECS["kernel"]


def states(events: queue.Queue[GuestEvent]) -> list[GuestState]:
    return [events.get_nowait().state for _ in range(events.qsize())]


def test_an_obedient_guest_shuts_down() -> None:
    events: queue.Queue[GuestEvent] = queue.Queue()
    driver = FakeDriver()
    driver.subscribe(events.put)
    driver.start(SPEC)
    driver.stop(SPEC.name, force=False)
    assert states(events) == [GuestState.RUNNING, GuestState.STOPPING, GuestState.STOPPED]
    assert driver.domains() == {}


def test_a_deaf_guest_needs_force() -> None:
    driver = FakeDriver(obedient=False)
    driver.start(SPEC)
    driver.stop(SPEC.name, force=False)
    assert driver.domains() == {SPEC.name: GuestState.RUNNING}
    driver.stop(SPEC.name, force=True)
    assert driver.domains() == {}


def test_one_start_can_fail() -> None:
    driver = FakeDriver()
    driver.fail_next("no memory left")
    with pytest.raises(HypervisorError) as caught:
        driver.start(SPEC)
    assert caught.value.evidence == "no memory left"
    driver.start(SPEC)
    assert driver.spec(SPEC.name) == SPEC


def test_a_guest_can_be_paused() -> None:
    driver = FakeDriver()
    driver.start(SPEC)
    driver.pause(SPEC.name)
    assert driver.domains() == {SPEC.name: GuestState.PAUSED}


@pytest.mark.parametrize("order", ["crash", "power_off", "pause", "spec"])
def test_what_does_not_run_cannot_be_told_anything(order: str) -> None:
    driver = FakeDriver()
    driver.start(SPEC)
    with pytest.raises(GuestStateError, match="nobody"):
        getattr(driver, order)("nobody")


def test_guests_are_told_apart() -> None:
    with FakeDriver() as driver:
        driver.start(SPEC)
        driver.start(replace(SPEC, name="other"))
        driver.crash(SPEC.name)
        assert driver.domains() == {"other": GuestState.RUNNING}


def test_a_disk_may_fail_again_after_each_resume() -> None:
    driver = FakeDriver()
    driver.start(SPEC)
    driver.fail_disk(SPEC.name, DiskFault("/disk"), again=True)
    driver.resume(SPEC.name)
    assert driver.stalled() == {SPEC.name}
    driver.mend_disk(SPEC.name)
    driver.resume(SPEC.name)
    assert driver.domains() == {SPEC.name: GuestState.RUNNING}
