"""Guests through libvirt: the real driver. It survives restarts of libvirtd, and guests survive those of the agent.

Owns the connection and its event thread. Does not own XML (domain/) or when a guest shall run (supervise.py)::

    with LibvirtDriver() as driver:
        driver.start(spec)

Needs Debian's python3-libvirt, which is imported when the first driver is made.
Source: https://libvirt.org/html/libvirt-libvirt-domain.html and libvirt.py of python3-libvirt 11.3.
"""

from __future__ import annotations

import functools
import importlib
import logging
import math
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from flashvisor.errors import GuestSilentError, GuestStateError, HypervisorError, ToolMissingError
from flashvisor.guests.domain import domain_xml
from flashvisor.guests.driver import ENDED, DiskFault, GuestEvent
from flashvisor.guests.libvirt_words import (
    ENOSPC,
    IO_ERROR_PAUSE,
    PAUSED_IOERROR,
    SUSPENDED_IOERROR,
    WATCHDOG,
    WATCHDOG_UNKNOWN,
    DomainState,
    Event,
    event_of,
    state_of,
)
from flashvisor.guests.listeners import Board

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from flashvisor.guests.domain import DomainSpec
    from flashvisor.model.guest import GuestState

log = logging.getLogger(__name__)

URI = "qemu:///system"
RETRY = 1.0  # seconds between attempts to reach libvirtd
KEEPALIVE_INTERVAL = 10  # seconds
KEEPALIVE_COUNT = 6  # unanswered: a busy server is not a dead one

# libvirt's ABI: virErrorNumber, virConnectListAllDomainsFlags, virDomainShutdownFlagValues, virDomainEventID
NO_DOMAIN = 42
OPERATION_INVALID = 55
LIST_ACTIVE = 1
POWER_BUTTON = 1
LIFECYCLE = 0
WATCHDOG_EVENT = 3
IO_ERROR_REASON = 8


class LibvirtDriver:
    """A connection to libvirtd, made at once if possible and again whenever it is lost.

    Args:
        uri: libvirt's URI of the hypervisor.
        libvirt: The module `libvirt`; imported if not given.

    Raises:
        ToolMissingError: python3-libvirt is not installed.
    """

    def __init__(self, uri: str = URI, libvirt: Any = None) -> None:  # noqa: ANN401 - the binding has no types
        self._libvirt = libvirt or _import_libvirt()
        self._uri = uri
        self._lock = threading.RLock()
        self._connection: Any = None
        self._board = Board()
        self._faults: dict[str, DiskFault] = {}  # touched on the event thread only
        self._closed = threading.Event()
        self._lost = threading.Event()
        self._lost.set()
        _run_event_loop(self._libvirt)
        self._keeper = threading.Thread(target=self._keep_connected, name="libvirt-keeper", daemon=True)
        self._keeper.start()

    def version(self) -> str:
        """Returns QEMU's and libvirt's versions."""
        with self._call("libvirt could not be asked for its version") as connection:
            kind, qemu, own = connection.getType(), connection.getVersion(), connection.getLibVersion()
        return f"{kind} {_version(qemu)}, libvirt {_version(own)}"

    def domains(self) -> dict[str, GuestState]:
        """Returns the state of every active domain."""
        with self._call("libvirt could not list its domains") as connection:
            return self._list(connection)

    def start(self, spec: DomainSpec) -> None:
        """Starts a transient domain: it is gone for libvirt when it ends."""
        with self._call(f"guest {spec.name} could not be started") as connection:
            if any(domain.name() == spec.name for domain in connection.listAllDomains(LIST_ACTIVE)):
                raise GuestStateError(f"guest {spec.name} is already there")
            connection.createXML(domain_xml(spec), 0)

    def stop(self, name: str, *, force: bool) -> None:
        """Destroys the domain, or presses its ACPI power button."""
        with self._call(f"guest {name} could not be stopped", name) as connection:
            domain = connection.lookupByName(name)
            if force:
                domain.destroyFlags(0)
            else:
                domain.shutdownFlags(POWER_BUTTON)

    def resume(self, name: str) -> None:
        """Has QEMU continue (`cont`)."""
        with self._call(f"guest {name} could not be resumed", name) as connection:
            domain = connection.lookupByName(name)
            if domain.state()[0] != DomainState.PAUSED:
                raise GuestStateError(f"guest {name} is not paused")
            domain.resume()

    def stalled(self) -> frozenset[str]:
        """Asks libvirt, which remembers why it paused a domain."""
        with self._call("libvirt could not list its domains") as connection:
            found = self._states(connection)
        return frozenset(name for name, pair in found.items() if pair == (DomainState.PAUSED, PAUSED_IOERROR))

    def subscribe(self, listener: Callable[[GuestEvent], None]) -> Callable[[], None]:
        """Adds a listener; it runs on libvirt's event thread."""
        return self._board.subscribe(listener)

    def console_socket(self, name: str) -> Path:
        """Returns the path in the live XML, so that it is known after a restart of the agent too."""
        with self._call(f"guest {name} could not be asked for its console", name) as connection:
            tree = ET.fromstring(connection.lookupByName(name).XMLDesc(0))  # noqa: S314 - libvirtd's own output
        source = tree.find("./devices/serial[@type='unix']/source")
        if source is None:
            raise GuestStateError(f"guest {name} has no serial port on a socket")
        return Path(source.attrib["path"])

    def ask_agent(self, name: str, limit: float) -> None:
        """Asks for the guest's time: libvirt owns the agent's channel, and bounds what comes out of it."""
        with self._call(f"guest {name} could not be asked for its agent", name) as connection:
            domain = connection.lookupByName(name)
            try:
                domain.agentSetResponseTimeout(math.ceil(limit), 0)
                domain.getTime(0)
            except self._libvirt.libvirtError as error:
                # An agent may answer with anything, and libvirt finds many words for that.
                if error.get_error_code() in (NO_DOMAIN, OPERATION_INVALID) or not connection.isAlive():
                    raise
                words = error.get_error_message() or str(error)
                raise GuestSilentError(f"the agent in guest {name} does not answer", evidence=words) from error

    def close(self) -> None:
        """Closes the connection and ends the keeper. The event thread belongs to the process and stays."""
        self._closed.set()
        self._lost.set()
        self._keeper.join()
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes."""
        self.close()

    @contextmanager
    def _call(self, failure: str, name: str = "") -> Iterator[Any]:
        """Gives the connection, and puts libvirt's errors into ours: `failure` is the sentence, its words evidence."""
        connection: Any = None
        try:
            connection = self._connected()
            yield connection
        except self._libvirt.libvirtError as error:
            words = error.get_error_message() or str(error)
            if name and error.get_error_code() in (NO_DOMAIN, OPERATION_INVALID):
                raise GuestStateError(f"guest {name} does not run", evidence=words) from error
            self._note_loss(connection)
            raise HypervisorError(failure, evidence=words) from error

    def _connected(self) -> Any:  # noqa: ANN401
        """The living connection; makes one if there is none."""
        with self._lock:
            if not self._lost.is_set():
                return self._connection
            if self._closed.is_set():
                raise RuntimeError("the driver is closed")
            self._drop()
            connection = self._libvirt.open(self._uri)
            connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
            connection.registerCloseCallback(self._on_close, None)
            # QEMU says which disk failed before it says that the guest is paused, and libvirt keeps that order.
            connection.domainEventRegisterAny(None, IO_ERROR_REASON, self._on_io_error, None)
            connection.domainEventRegisterAny(None, LIFECYCLE, self._on_lifecycle, None)
            connection.domainEventRegisterAny(None, WATCHDOG_EVENT, self._on_watchdog, None)
            self._connection = connection
            self._lost.clear()
            # Events of the time before are lost: what is there now is compared with what was known.
            self._board.compare(self._list(connection), "seen when libvirt was reached")
            return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.unregisterCloseCallback()
            connection.close()
        except self._libvirt.libvirtError as error:  # it is dead already: nothing is left to be closed
            log.debug("closing a lost connection: %s", error)

    def _keep_connected(self) -> None:
        """Reconnects without being asked, so that events go on after a restart of libvirtd."""
        level = logging.WARNING
        while True:
            self._lost.wait()
            if self._closed.is_set():
                return
            try:
                self._connected()
                level = logging.WARNING
            except self._libvirt.libvirtError as error:
                log.log(level, "libvirt cannot be reached: %s", error)
                level = logging.DEBUG  # once an outage is enough
                self._closed.wait(RETRY)

    def _note_loss(self, connection: Any) -> None:  # noqa: ANN401
        if connection is None or connection.isAlive():
            return
        if connection is self._connection:
            self._lost.set()

    def _list(self, connection: Any) -> dict[str, GuestState]:  # noqa: ANN401
        states = {name: state_of(*pair) for name, pair in self._states(connection).items()}
        return {name: state for name, state in states.items() if state not in ENDED}

    def _states(self, connection: Any) -> dict[str, tuple[int, int]]:  # noqa: ANN401
        """VirDomainGetState's pairs by name."""
        found: dict[str, tuple[int, int]] = {}
        for domain in connection.listAllDomains(LIST_ACTIVE):
            try:
                state, reason = domain.state()
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != NO_DOMAIN:  # it ended between the two calls
                    raise
            else:
                found[domain.name()] = (state, reason)
        return found

    def _on_close(self, connection: Any, reason: int, _: object) -> None:  # noqa: ANN401
        log.warning("the connection to libvirt ended (virConnectCloseReason %d)", reason)
        if connection is self._connection:
            self._lost.set()

    def _on_lifecycle(self, _connection: object, domain: Any, event: int, detail: int, _: object) -> None:  # noqa: ANN401
        change, name = event_of(event, detail), domain.name()
        # Whatever happens next, an error of before is not its cause.
        fault = self._faults.pop(name, DiskFault())
        if change is not None:
            stalled = (event, detail) == (Event.SUSPENDED, SUSPENDED_IOERROR)
            self._board.tell(GuestEvent(name, *change, fault=fault if stalled else None))

    def _on_io_error(
        self,
        _connection: object,
        domain: Any,  # noqa: ANN401
        path: str,
        _alias: str,
        action: int,
        reason: str,
        _: object,
    ) -> None:
        if action == IO_ERROR_PAUSE:
            self._faults[domain.name()] = DiskFault(path, full=reason == ENOSPC)

    def _on_watchdog(self, _connection: object, domain: Any, action: int, _: object) -> None:  # noqa: ANN401
        state, reason = WATCHDOG.get(action, WATCHDOG_UNKNOWN)
        self._board.announce(GuestEvent(domain.name(), state, reason, watchdog=True))


def _import_libvirt() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("libvirt")
    except ImportError as error:
        raise ToolMissingError(
            "the Python module 'libvirt' is not installed on this machine",
            next_step="It is Debian's python3-libvirt; servers carry it, and `--driver fake` needs none.",
        ) from error


def _version(number: int) -> str:
    """Shows a version number of libvirt, which is major * 1,000,000 + minor * 1,000 + release."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


@functools.cache
def _run_event_loop(libvirt: Any) -> threading.Thread:  # noqa: ANN401
    """Starts libvirt's event thread, once a process: it must run before the first connection, and cannot be undone."""
    # libvirt prints each error on standard error otherwise, beside raising it.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def loop() -> None:
        pause = threading.Event()
        while True:
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError:
                log.exception("libvirt's event loop failed once")
                pause.wait(RETRY)

    thread = threading.Thread(target=loop, name="libvirt-events", daemon=True)
    thread.start()
    return thread
