"""libvirt's numbers for states and events, and what they mean here. Pure, without libvirt.

Owns the translation. The numbers are part of libvirt's ABI and never change::

    state_of(1, 1) is GuestState.RUNNING
    event_of(5, 5) == (GuestState.CRASHED, "QEMU died")

A panic is two events: CRASHED, and STOPPED unless the domain is kept (qemu_driver.c, processGuestPanicEvent).

Source: libvirt-domain.h: virDomainState, virDomainEventType and the detail enums beside them.
"""

from __future__ import annotations

from enum import IntEnum

from flashvisor.model.guest import GuestState


class DomainState(IntEnum):
    """virDomainState."""

    NOSTATE = 0
    RUNNING = 1
    BLOCKED = 2
    PAUSED = 3
    SHUTDOWN = 4
    SHUTOFF = 5
    CRASHED = 6
    PMSUSPENDED = 7


class Event(IntEnum):
    """virDomainEventType."""

    DEFINED = 0
    UNDEFINED = 1
    STARTED = 2
    SUSPENDED = 3
    RESUMED = 4
    STOPPED = 5
    SHUTDOWN = 6
    PMSUSPENDED = 7
    CRASHED = 8


PAUSED_IOERROR = 5  # virDomainPausedReason: a disk failed
PAUSED_STARTING_UP = 11  # virDomainPausedReason: QEMU is there, the CPUs do not run yet

SUSPENDED_IOERROR = 2  # virDomainEventSuspendedDetailType
IO_ERROR_PAUSE = 1  # virDomainEventIOErrorAction: the guest is paused, and did not hear of the error
ENOSPC = "enospc"  # the reason that libvirt gives for want of room; any other stands for any other error

STATES = {
    DomainState.NOSTATE: GuestState.RUNNING,
    DomainState.RUNNING: GuestState.RUNNING,
    DomainState.BLOCKED: GuestState.RUNNING,
    DomainState.PAUSED: GuestState.PAUSED,
    DomainState.SHUTDOWN: GuestState.STOPPING,
    DomainState.SHUTOFF: GuestState.STOPPED,
    DomainState.CRASHED: GuestState.KEPT,  # what has ended is not listed, so this one is there
    DomainState.PMSUSPENDED: GuestState.PAUSED,
}

# Events by type and detail; detail None stands for all that are not named. What is missing changes no state.
EVENTS: dict[tuple[Event, int | None], tuple[GuestState, str]] = {
    # A start is told twice: libvirt starts QEMU paused, lets the CPUs run (RESUMED), and then says STARTED.
    (Event.STARTED, None): (GuestState.RUNNING, "runs"),
    (Event.RESUMED, None): (GuestState.RUNNING, "runs"),
    (Event.SUSPENDED, None): (GuestState.PAUSED, "paused"),
    (Event.SUSPENDED, SUSPENDED_IOERROR): (GuestState.PAUSED, "a disk of it failed or is full"),
    (Event.SUSPENDED, 3): (GuestState.PAUSED, "its watchdog ran out"),
    (Event.SUSPENDED, 6): (GuestState.PAUSED, "libvirt gave up on an operation"),
    (Event.PMSUSPENDED, None): (GuestState.PAUSED, "it went to sleep"),
    (Event.SHUTDOWN, None): (GuestState.STOPPING, "shutting down"),
    (Event.STOPPED, None): (GuestState.STOPPED, "stopped"),
    (Event.STOPPED, 0): (GuestState.STOPPED, "shut down"),
    (Event.STOPPED, 1): (GuestState.STOPPED, "stopped by force"),
    (Event.STOPPED, 2): (GuestState.CRASHED, "its kernel panicked"),
    (Event.STOPPED, 5): (GuestState.CRASHED, "QEMU died"),
    # Told before libvirt does what on_crash says: the end follows at once, unless that is "preserve".
    (Event.CRASHED, None): (GuestState.KEPT, "its kernel panicked"),
}

# virDomainEventWatchdogAction: where a watchdog's action leads to.
WATCHDOG: dict[int, tuple[GuestState, str]] = {
    0: (GuestState.RUNNING, "its watchdog ran out, and does nothing"),
    1: (GuestState.PAUSED, "its watchdog paused it"),
    2: (GuestState.RUNNING, "its watchdog reset it"),
    3: (GuestState.STOPPED, "its watchdog powered it off"),
    4: (GuestState.STOPPING, "its watchdog asked it to shut down"),
    6: (GuestState.RUNNING, "its watchdog sent it an NMI"),
}
WATCHDOG_UNKNOWN = (GuestState.RUNNING, "its watchdog ran out")


def state_of(state: int, reason: int) -> GuestState:
    """Returns what virDomainGetState's pair means. A domain that is starting counts as running."""
    if state == DomainState.PAUSED and reason == PAUSED_STARTING_UP:
        return GuestState.RUNNING
    return STATES[DomainState(state)]


def event_of(event: int, detail: int) -> tuple[GuestState, str] | None:
    """Returns state and reason of a lifecycle event, or None when it changes no state."""
    try:
        kind = Event(event)
    except ValueError:  # a newer libvirt's event
        return None
    return EVENTS.get((kind, detail)) or EVENTS.get((kind, None))
