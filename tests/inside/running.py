"""What guests in trouble do under the real libvirt: panics, watchdogs, agents. More scenes; troubled.c is the guest."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt
import libvirt_qemu

from flashvisor.errors import GuestSilentError, GuestStateError
from flashvisor.guests.domain import DirectKernel, DomainSpec
from flashvisor.guests.driver import GuestEvent
from flashvisor.model.guest import GuestState
from inside.scenes import HELLO, MEDIA, Stage, scene, wait

if TYPE_CHECKING:
    from collections.abc import Callable

PANIC = GuestEvent("hello", GuestState.CRASHED, "its kernel panicked")
KEPT = GuestEvent("hello", GuestState.KEPT, "its kernel panicked")
BITE = GuestEvent("hello", GuestState.RUNNING, "its watchdog reset it", watchdog=True)
AGENT_LIMIT = 2.0  # seconds
MONITOR_HMP = 1  # virDomainQemuMonitorCommandFlags


def troubled(what: str) -> DomainSpec:
    """The guest that gets into this trouble."""
    boot = DirectKernel(str(MEDIA / "kernel"), str(MEDIA / "troubled"), f"console=ttyS0 what={what}")
    return replace(HELLO, boot=boot)


def panic() -> None:
    """Tells the pvpanic device what a panicking kernel would; source: docs/specs/pvpanic.rst of QEMU."""
    wait(said("waits for the end"))
    with libvirt.open("qemu:///system") as connection:
        libvirt_qemu.qemuMonitorCommand(connection.lookupByName("hello"), "o /b 0x505 1", MONITOR_HMP)


def news(stage: Stage) -> list[GuestEvent]:
    """Collects all that the driver tells from now on."""
    found: list[GuestEvent] = []
    stage.driver.subscribe(found.append)
    return found


def said(words: str) -> Callable[[], bool]:
    """Whether the guest has said this on its serial port."""
    return lambda: words in Path(HELLO.console_log).read_text(errors="replace")


@scene
def a_panic_ends_a_guest(stage: Stage) -> None:
    found = news(stage)
    stage.driver.start(troubled("nothing"))
    panic()
    wait(lambda: PANIC in found)
    # Between the two it is paused, and shuts down.
    assert found.index(KEPT) < found.index(PANIC) == len(found) - 1, found
    assert stage.driver.domains() == {}
    stage.driver.start(HELLO)
    stage.driver.stop("hello", force=True)


@scene
def a_guest_that_is_to_be_kept_stays(stage: Stage) -> None:
    found = news(stage)
    stage.driver.start(replace(troubled("nothing"), keep=True))
    panic()
    wait(lambda: KEPT in found)
    time.sleep(2.0)  # were it to end, it would
    assert found[-1] == KEPT, found
    assert stage.driver.domains() == {"hello": GuestState.KEPT}
    try:
        stage.driver.start(HELLO)
    except GuestStateError:
        pass
    else:
        raise AssertionError("a second one was started")
    stage.driver.stop("hello", force=True)
    stage.told(GuestState.STOPPED)
    assert stage.driver.domains() == {}


@scene
def a_guest_that_hangs_is_reset(stage: Stage) -> None:
    found = news(stage)
    stage.driver.start(troubled("hang"))
    wait(lambda: found.count(BITE) == 2)  # after the reset it hangs again
    assert stage.driver.domains() == {"hello": GuestState.RUNNING}
    assert {event.state for event in found} == {GuestState.RUNNING}, found


@scene
def an_agent_answers_or_not(stage: Stage) -> None:
    def ask() -> str:
        try:
            stage.driver.ask_agent("hello", AGENT_LIMIT)
        except GuestSilentError as error:
            return error.evidence
        return ""

    stage.driver.start(replace(troubled("agent"), agent=True))
    assert "not connected" in ask()
    wait(said("is an agent"))
    wait(lambda: not ask())
    assert ask() == ""
    start = time.monotonic()
    assert ask(), "it stopped in the middle of its answer"
    assert time.monotonic() - start < AGENT_LIMIT + 10.0
    wait(lambda: not ask())
    assert ask(), "it never stopped"
    wait(said("never stops"))
    assert stage.driver.domains() == {"hello": GuestState.RUNNING}
    stage.driver.stop("hello", force=True)


@scene
def a_guest_without_a_channel_has_no_agent(stage: Stage) -> None:
    stage.driver.start(HELLO)
    try:
        stage.driver.ask_agent("hello", AGENT_LIMIT)
    except GuestSilentError as error:
        assert "not configured" in error.evidence, error.evidence
    else:
        raise AssertionError("somebody answered")
