"""The libvirt driver on a simulated libvirt: what the contract does not ask for."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import GuestSilentError, GuestStateError, HypervisorError, ToolMissingError
from flashvisor.guests.driver import DiskFault, GuestEvent
from flashvisor.guests.libvirt_driver import LibvirtDriver
from flashvisor.model.guest import GuestState
from sim.drivercontract import listen, until
from sim.libvirtsim import (
    INTERNAL_ERROR,
    OPERATION_INVALID,
    SYSTEM_ERROR,
    LibvirtSim,
    SimConnection,
    SimDomain,
    SimError,
)
from unit.guests.golden_specs import SPECS

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = SPECS["kernel"]
PATIENCE = 30.0  # seconds


@pytest.fixture
def sim() -> LibvirtSim:
    return LibvirtSim()


@pytest.fixture
def driver(sim: LibvirtSim) -> Iterator[LibvirtDriver]:
    with LibvirtDriver(libvirt=sim) as made:
        yield made


def test_says_whose_version(driver: LibvirtDriver) -> None:
    assert driver.version() == "QEMU 10.0.13, libvirt 11.3.0"


def test_presses_the_button_of_the_right_guest(sim: LibvirtSim, driver: LibvirtDriver) -> None:
    driver.start(SPEC)
    driver.start(replace(SPEC, name="other"))
    driver.stop("other", force=False)
    assert sim.buttons == ["other"]
    assert len(driver.domains()) == 2


def test_survives_a_restart_of_libvirtd(
    sim: LibvirtSim, driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashvisor.guests.libvirt_driver.RETRY", 0.01)
    events = listen(driver)
    driver.start(SPEC)
    driver.start(replace(SPEC, name="doomed"))
    until(events, GuestState.RUNNING)
    until(events, GuestState.RUNNING)
    sim.kill_daemon()
    with pytest.raises(HypervisorError) as caught:
        driver.domains()
    assert "Broken pipe" in caught.value.evidence or "Connection refused" in caught.value.evidence
    # Nobody asks the driver for anything: it comes back by itself, and tells what happened meanwhile.
    del sim.domains["doomed"]
    sim.daemon = True
    assert events.get(timeout=PATIENCE) == GuestEvent("doomed", GuestState.STOPPED, "seen when libvirt was reached")
    assert driver.domains() == {SPEC.name: GuestState.RUNNING}
    driver.stop(SPEC.name, force=True)
    assert until(events, GuestState.STOPPED)[-1].name == SPEC.name


def test_a_server_without_libvirtd_still_has_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashvisor.guests.libvirt_driver.RETRY", 0.01)
    sim = LibvirtSim(daemon=False)
    with LibvirtDriver(libvirt=sim) as driver:
        with pytest.raises(HypervisorError, match="libvirt could not list its domains") as caught:
            driver.domains()
        assert "Connection refused" in caught.value.evidence
        sim.daemon = True
        assert sim.opened.acquire(timeout=PATIENCE)
        assert driver.domains() == {}


def test_guests_of_before_are_told_when_it_connects(sim: LibvirtSim) -> None:
    sim.domains["old"] = SimDomain(sim, "old", "")
    sim.domains["paused"] = SimDomain(sim, "paused", "", (3, 5))
    sim.domains["starting"] = SimDomain(sim, "starting", "", (3, 11))
    sim.domains["gone"] = SimDomain(sim, "gone", "", (5, 1))
    with LibvirtDriver(libvirt=sim) as driver:
        assert driver.domains() == {
            "old": GuestState.RUNNING,
            "paused": GuestState.PAUSED,
            "starting": GuestState.RUNNING,
        }


def test_a_domain_may_end_between_two_questions(sim: LibvirtSim, driver: LibvirtDriver) -> None:
    driver.start(SPEC)
    ghost = SimDomain(sim, "ghost", "")
    sim.domains[SPEC.name] = ghost
    assert driver.domains() == {}


def test_a_domain_that_ends_meanwhile_does_not_run(driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: SimDomain, _flags: int) -> int:
        raise SimError(OPERATION_INVALID, "Requested operation is not valid: domain is not running")

    driver.start(SPEC)
    monkeypatch.setattr(SimDomain, "shutdownFlags", refuse)
    with pytest.raises(GuestStateError) as caught:
        driver.stop(SPEC.name, force=False)
    assert "domain is not running" in caught.value.evidence


def test_other_refusals_are_the_hypervisors(driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: SimDomain, _flags: int) -> int:
        raise SimError(INTERNAL_ERROR, "internal error: no monitor")

    driver.start(SPEC)
    monkeypatch.setattr(SimDomain, "destroyFlags", refuse)
    with pytest.raises(HypervisorError) as caught:
        driver.stop(SPEC.name, force=True)
    assert caught.value.evidence == "internal error: no monitor"
    assert driver.domains() == {SPEC.name: GuestState.RUNNING}


def test_a_guest_without_a_serial_socket_has_no_console(sim: LibvirtSim, driver: LibvirtDriver) -> None:
    sim.domains["odd"] = SimDomain(sim, "odd", "<domain><devices/></domain>")
    with pytest.raises(GuestStateError, match="no serial port"):
        driver.console_socket("odd")


def test_an_agent_gets_whole_seconds(sim: LibvirtSim, driver: LibvirtDriver) -> None:
    driver.start(SPEC)
    sim.agents.add(SPEC.name)
    driver.ask_agent(SPEC.name, 0.3)
    assert sim.domains[SPEC.name].agent_timeout == 1


def test_an_agent_that_does_not_answer_is_told_in_libvirts_words(driver: LibvirtDriver) -> None:
    driver.start(SPEC)
    with pytest.raises(GuestSilentError, match=f"the agent in guest {SPEC.name}") as caught:
        driver.ask_agent(SPEC.name, 2.0)
    assert "not connected" in caught.value.evidence


def test_an_agent_that_answers_nonsense_does_not_answer(driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: SimDomain, _flags: int) -> int:
        raise SimError(INTERNAL_ERROR, "internal error: cannot parse json")

    driver.start(SPEC)
    monkeypatch.setattr(SimDomain, "getTime", refuse)
    with pytest.raises(GuestSilentError):
        driver.ask_agent(SPEC.name, 2.0)


def test_a_libvirt_that_is_gone_or_a_guest_that_stands_still_is_no_silent_agent(
    sim: LibvirtSim, driver: LibvirtDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: SimDomain, _flags: int) -> int:
        raise SimError(OPERATION_INVALID, "Requested operation is not valid: domain is not running")

    def lose(_self: SimDomain, _flags: int) -> int:
        sim.kill_daemon()
        raise SimError(SYSTEM_ERROR, "Cannot write data: Broken pipe")

    driver.start(SPEC)
    for play, kind in ((refuse, GuestStateError), (lose, HypervisorError)):
        monkeypatch.setattr(SimDomain, "getTime", play)
        with pytest.raises(kind):
            driver.ask_agent(SPEC.name, 2.0)


@pytest.mark.parametrize(
    ("action", "state", "reason"),
    [
        (1, GuestState.PAUSED, "its watchdog paused it"),
        (3, GuestState.STOPPED, "its watchdog powered it off"),
        (99, GuestState.RUNNING, "its watchdog ran out"),
    ],
)
def test_a_watchdog_says_what_it_does(
    sim: LibvirtSim, driver: LibvirtDriver, action: int, state: GuestState, reason: str
) -> None:
    events = listen(driver)
    driver.start(SPEC)
    until(events, GuestState.RUNNING)
    sim.bite(SPEC.name, action)
    assert events.get(timeout=PATIENCE) == GuestEvent(SPEC.name, state, reason, watchdog=True)


def test_a_crashed_guest_of_before_is_kept(sim: LibvirtSim) -> None:
    sim.domains["kept"] = SimDomain(sim, "kept", "", (6, 1))
    with LibvirtDriver(libvirt=sim) as driver:
        assert driver.domains() == {"kept": GuestState.KEPT}


def test_an_unknown_event_changes_nothing(sim: LibvirtSim, driver: LibvirtDriver) -> None:
    events = listen(driver)
    driver.start(SPEC)
    until(events, GuestState.RUNNING)
    domain = sim.domains[SPEC.name]
    sim.post(domain, 99, 0)
    sim.post(domain, 0, 0)
    sim.post(domain, 3, 2)
    words = "a disk of it failed or is full"
    assert events.get(timeout=PATIENCE) == GuestEvent(SPEC.name, GuestState.PAUSED, words, DiskFault())


def test_an_error_of_before_is_not_the_cause_of_a_later_pause(sim: LibvirtSim, driver: LibvirtDriver) -> None:
    events = listen(driver)
    driver.start(SPEC)
    sim.fail_disk(SPEC.name, "/d/a", "enospc")
    sim.fail_disk(SPEC.name, "/d/b", "enospc")  # a second request fails while it is paused already
    assert until(events, GuestState.PAUSED)[-1].fault == DiskFault("/d/a", full=True)
    driver.resume(SPEC.name)
    until(events, GuestState.RUNNING)
    sim.post(sim.domains[SPEC.name], 3, 0)
    assert until(events, GuestState.PAUSED)[-1].fault is None


def test_an_error_that_the_guest_hears_of_itself_does_not_pause_it(sim: LibvirtSim, driver: LibvirtDriver) -> None:
    events = listen(driver)
    driver.start(SPEC)
    sim.fail_disk(SPEC.name, "/d/a", "message", action=2)
    sim.post(sim.domains[SPEC.name], 3, 2)  # paused for another error, of which nothing was told
    assert until(events, GuestState.PAUSED)[-1].fault == DiskFault()


def test_the_end_of_an_old_connection_is_not_the_end_of_the_new(sim: LibvirtSim, driver: LibvirtDriver) -> None:
    driver.domains()
    before = len(sim.connections)
    driver._on_close(SimConnection(sim), 1, None)
    driver.domains()
    assert len(sim.connections) == before


def test_a_closed_driver_is_not_used(sim: LibvirtSim) -> None:
    driver = LibvirtDriver(libvirt=sim)
    driver.close()
    with pytest.raises(RuntimeError, match="closed"):
        driver.domains()
    assert not [thread for thread in threading.enumerate() if thread is driver._keeper]
    assert not [connection for connection in sim.connections if connection.alive]


def test_python3_libvirt_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(ToolMissingError, match="libvirt") as caught:
        LibvirtDriver()
    assert "python3-libvirt" in caught.value.next_step
