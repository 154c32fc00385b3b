"""A hypervisor in memory: every guest starts, obeys, and dies when told. For tests, and for `--driver fake`.

Example::

    driver = FakeDriver()
    driver.start(spec)
    driver.crash("hello")      # listeners hear CRASHED
    driver.fail_next("no memory left")
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import GuestSilentError, GuestStateError, HypervisorError
from flashvisor.guests.domain import domain_xml
from flashvisor.guests.driver import DiskFault, GuestEvent
from flashvisor.guests.listeners import Board
from flashvisor.model.guest import GuestState

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from flashvisor.guests.domain import DomainSpec


class FakeDriver:
    """A driver whose guests are entries of a dictionary.

    Args:
        obedient: Guests end when their power button is pressed; else only `power_off` or force ends them.
    """

    def __init__(self, *, obedient: bool = True) -> None:
        self._obedient = obedient
        self._lock = threading.RLock()
        self._specs: dict[str, DomainSpec] = {}
        self._states: dict[str, GuestState] = {}
        self._faults: dict[str, DiskFault] = {}
        self._again: dict[str, DiskFault] = {}
        self._refusal = ""
        self.agents: set[str] = set()  # guests whose agent answers
        self._board = Board()

    def version(self) -> str:
        """Returns the fake's name."""
        return "fake hypervisor (no guest really runs)"

    def domains(self) -> dict[str, GuestState]:
        """Returns all guests that were started and did not end."""
        with self._lock:
            return dict(self._states)

    def start(self, spec: DomainSpec) -> None:
        """Notes the guest as running. Its XML is built, so that a spec that has none fails here too."""
        with self._lock:
            if spec.name in self._states:
                raise GuestStateError(f"guest {spec.name} is already {self._states[spec.name]}")
            if self._refusal:
                refusal, self._refusal = self._refusal, ""
                raise HypervisorError(f"guest {spec.name} could not be started", evidence=refusal)
            domain_xml(spec)
            self._need_disks(spec)
            self._specs[spec.name] = spec
            self._change(spec.name, GuestState.RUNNING, "runs")

    def stop(self, name: str, *, force: bool) -> None:
        """Ends a guest at once by force, or if it is obedient; else it is only told."""
        with self._lock:
            self._need(name)
            if force:
                self._change(name, GuestState.STOPPED, "stopped by force")
            elif self._obedient:
                self.power_off(name)

    def resume(self, name: str) -> None:
        """Lets a paused guest run on, until `fail_disk` has it fail again."""
        with self._lock:
            self._need(name)
            if self._states[name] is not GuestState.PAUSED:
                raise GuestStateError(f"guest {name} is not paused")
            self._faults.pop(name, None)
            self._change(name, GuestState.RUNNING, "runs")
            if name in self._again:
                self._stall(name, self._again[name])

    def stalled(self) -> frozenset[str]:
        """Returns the guests whose disk failed."""
        with self._lock:
            return frozenset(self._faults)

    def subscribe(self, listener: Callable[[GuestEvent], None]) -> Callable[[], None]:
        """Adds a listener, which is called before the call that caused the event returns."""
        return self._board.subscribe(listener)

    def console_socket(self, name: str) -> Path:
        """Returns the path in the spec. Nobody listens there."""
        with self._lock:
            self._need(name)
            return Path(self._specs[name].console_socket)

    def ask_agent(self, name: str, limit: float) -> None:
        """Answers for the guests in `agents`."""
        with self._lock:
            self._need(name)
            if name not in self.agents:
                raise GuestSilentError(f"the agent in guest {name} did not answer within {limit:.0f} s")

    def close(self) -> None:
        """Does nothing: guests run on."""

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes."""
        self.close()

    def crash(self, name: str) -> None:
        """The guest's kernel panics.

        Raises:
            GuestStateError: the guest does not run.
        """
        with self._lock:
            self._need(name)
            state = GuestState.KEPT if self._specs[name].keep else GuestState.CRASHED
            self._change(name, state, "its kernel panicked")

    def bite(self, name: str) -> None:
        """The guest's watchdog runs out, and resets it.

        Raises:
            GuestStateError: the guest does not run.
        """
        with self._lock:
            self._need(name)
            self._board.announce(GuestEvent(name, GuestState.RUNNING, "its watchdog reset it", watchdog=True))

    def power_off(self, name: str) -> None:
        """The guest shuts itself down.

        Raises:
            GuestStateError: the guest does not run.
        """
        with self._lock:
            self._need(name)
            self._change(name, GuestState.STOPPING, "shutting down")
            self._change(name, GuestState.STOPPED, "shut down")

    def pause(self, name: str) -> None:
        """The guest is paused, as by a full disk.

        Raises:
            GuestStateError: the guest does not run.
        """
        with self._lock:
            self._need(name)
            self._change(name, GuestState.PAUSED, "a disk of it failed or is full")

    def fail_disk(self, name: str, fault: DiskFault, *, again: bool = False) -> None:
        """A read or write of the guest's disk fails; with `again`, also after each resume, until `mend_disk`.

        Raises:
            GuestStateError: the guest does not run.
        """
        with self._lock:
            self._need(name)
            if again:
                self._again[name] = fault
            self._stall(name, fault)

    def mend_disk(self, name: str) -> None:
        """The guest's disk works again. It stays paused until somebody resumes it."""
        with self._lock:
            self._again.pop(name, None)

    def fail_next(self, words: str) -> None:
        """Lets the next start fail with these words of the hypervisor."""
        with self._lock:
            self._refusal = words

    def spec(self, name: str) -> DomainSpec:
        """Returns what a guest was started with.

        Raises:
            GuestStateError: the guest does not run.
        """
        with self._lock:
            self._need(name)
            return self._specs[name]

    def _need_disks(self, spec: DomainSpec) -> None:
        for disk in spec.disks:
            if not Path(disk.path).exists():
                words = f"Cannot access storage file '{disk.path}': No such file or directory"
                raise HypervisorError(f"guest {spec.name} could not be started", evidence=words)

    def _need(self, name: str) -> None:
        if name not in self._states:
            raise GuestStateError(f"guest {name} does not run")

    def _stall(self, name: str, fault: DiskFault) -> None:
        self._faults[name] = fault
        self._change(name, GuestState.PAUSED, "a disk of it failed or is full", fault)

    def _change(self, name: str, state: GuestState, reason: str, fault: DiskFault | None = None) -> None:
        if state in (GuestState.STOPPED, GuestState.CRASHED):
            del self._states[name]
            del self._specs[name]
            self._faults.pop(name, None)
        else:
            self._states[name] = state
        self._board.tell(GuestEvent(name, state, reason, fault))
