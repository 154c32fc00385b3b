"""What every driver of guests can do. Two exist: libvirt_driver.py, and fake.py, which a server can be told to use.

Owns the contract. A domain exists from `start` until it ended, however it ended; nothing of it is kept after that,
because the site file has the only definition of a guest. One that was started with `keep`, and whose kernel panicked,
has not ended: it is KEPT until it is stopped by force::

    with LibvirtDriver() as driver:
        driver.subscribe(lambda event: print(event.name, event.state, event.reason))
        driver.start(spec)
        driver.domains()   # {"hello": GuestState.RUNNING}
        driver.resume("hello")
    driver.stop("hello", force=False)

The contract's test is tests/unit/guests/test_driver_contract.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashvisor.model.guest import GuestState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from flashvisor.guests.domain import DomainSpec

ENDED = frozenset({GuestState.STOPPED, GuestState.CRASHED})


@dataclass(frozen=True)
class DiskFault:
    """A read or write of a guest's disk failed, and the guest was paused before it noticed: a resume tries it again.

    `path` is the disk's file or device, "" if it is not known any more; `full` tells that there was no room.
    """

    path: str = ""
    full: bool = False


@dataclass(frozen=True)
class GuestEvent:
    """A domain came into another state; `reason` says why in a few plain words, `fault` which disk paused it.

    With `watchdog`, its watchdog ran out, which is told beside its states: `state` is what the watchdog's action leads
    to, RUNNING after a reset.
    """

    name: str
    state: GuestState
    reason: str
    fault: DiskFault | None = None
    watchdog: bool = False


class Driver(Protocol):
    """A hypervisor. All calls block for at most seconds and may come from any thread."""

    def version(self) -> str:
        """Returns the hypervisor's name and version in one line.

        Raises:
            HypervisorError: it cannot be reached.
        """

    def domains(self) -> dict[str, GuestState]:
        """Returns the state of every domain that exists, by name. What ended is not in it.

        Raises:
            HypervisorError: it cannot be reached.
        """

    def start(self, spec: DomainSpec) -> None:
        """Starts a guest; returns when its CPUs run.

        Args:
            spec: All its files must exist, and the directories of its console.

        Raises:
            GuestStateError: a domain of that name exists.
            HypervisorError: the hypervisor refused, in its own words.
        """

    def stop(self, name: str, *, force: bool) -> None:
        """Ends a guest: with `force` at once, else by pressing its power button, which it may ignore.

        Returns when the guest has been told; the event says when it ended.

        Raises:
            GuestStateError: no domain of that name exists.
            HypervisorError: the hypervisor refused, in its own words.
        """

    def resume(self, name: str) -> None:
        """Lets a paused guest's CPUs run on; what its disks failed to do is tried again.

        Raises:
            GuestStateError: no domain of that name is paused.
            HypervisorError: the hypervisor refused, in its own words.
        """

    def stalled(self) -> frozenset[str]:
        """Returns the domains that are paused because a disk failed. Asks no guest's QEMU, which may hang.

        Raises:
            HypervisorError: the hypervisor cannot be reached.
        """

    def subscribe(self, listener: Callable[[GuestEvent], None]) -> Callable[[], None]:
        """Calls the listener on each change of state, from the driver's own thread, in order, each change once.

        Returns:
            A function that ends the subscription.
        """

    def console_socket(self, name: str) -> Path:
        """Returns the Unix socket of a guest's serial port, as given at its start.

        Raises:
            GuestStateError: no domain of that name exists.
        """

    def ask_agent(self, name: str, limit: float) -> None:
        """Returns once QEMU's guest agent in a guest has answered a question that changes nothing.

        Args:
            name: Of a guest that was started with `agent`.
            limit: Seconds to wait at most, rounded up to whole ones.

        Raises:
            GuestSilentError: it did not answer in time, or is not there.
            GuestStateError: no domain of that name exists.
            HypervisorError: the hypervisor cannot be reached.
        """

    def close(self) -> None:
        """Lets go of the hypervisor. Guests run on."""

    def __enter__(self) -> Self:
        """Returns itself."""

    def __exit__(self, *exc: object) -> None:
        """Closes."""
