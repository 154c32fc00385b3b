"""LibvirtSim: as much of the module `libvirt` as the driver uses, with one hypervisor in memory.

Kill and revive its daemon, crash its guests, make it refuse; events travel through a queue on the event thread,
as in libvirt::

    sim = LibvirtSim()
    driver = LibvirtDriver(libvirt=sim)
    sim.kill_daemon()
"""

from __future__ import annotations

import queue
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LIFECYCLE, WATCHDOG, IO_ERROR_REASON = 0, 3, 8
NO_DOMAIN, OPERATION_INVALID, INTERNAL_ERROR, SYSTEM_ERROR, AGENT_UNRESPONSIVE = 42, 55, 1, 38, 86


class SimError(Exception):
    """libvirtError: a code and words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words

    def get_error_code(self) -> int:
        return self.code

    def get_error_message(self) -> str:
        return self.words


@dataclass
class SimDomain:
    """virDomain."""

    sim: LibvirtSim
    own_name: str
    xml: str
    now: tuple[int, int] = (1, 1)
    agent_timeout: int = -2

    def name(self) -> str:
        return self.own_name

    def state(self) -> list[int]:
        if self.own_name not in self.sim.domains:
            raise SimError(NO_DOMAIN, f"Domain not found: {self.own_name}")
        return list(self.now)

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802 - libvirt's name
        return self.xml

    def destroyFlags(self, _flags: int) -> int:  # noqa: N802 - libvirt's name
        self.sim.end(self.own_name, (5, 1))
        return 0

    def agentSetResponseTimeout(self, timeout: int, _flags: int) -> int:  # noqa: N802 - libvirt's name
        self.agent_timeout = timeout
        return 0

    def getTime(self, _flags: int) -> dict[str, int]:  # noqa: N802 - libvirt's name
        self.state()  # raises if it is gone
        if self.own_name not in self.sim.agents:
            raise SimError(AGENT_UNRESPONSIVE, "Guest agent is not responding: QEMU guest agent is not connected")
        return {"seconds": 1, "nseconds": 0}

    def resume(self) -> int:
        self.now = (1, 5)
        self.sim.post(self, 4, 0)
        return 0

    def shutdownFlags(self, _flags: int) -> int:  # noqa: N802 - libvirt's name
        self.sim.buttons.append(self.own_name)
        return 0


@dataclass
class SimConnection:
    """virConnect."""

    sim: LibvirtSim
    alive: bool = True
    on_close: Callable[..., None] | None = None
    on_event: dict[int, Callable[..., None]] = field(default_factory=dict)

    def _need(self) -> None:
        if not self.alive:
            raise SimError(SYSTEM_ERROR, "Cannot write data: Broken pipe")

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        return self.alive

    def setKeepAlive(self, _interval: int, _count: int) -> None:  # noqa: N802 - libvirt's name
        self._need()

    def registerCloseCallback(self, callback: Callable[..., None], _: object) -> None:  # noqa: N802 - libvirt's name
        self.on_close = callback

    def unregisterCloseCallback(self) -> None:  # noqa: N802 - libvirt's name
        self.on_close = None

    def domainEventRegisterAny(  # noqa: N802 - libvirt's name
        self, _domain: None, kind: int, callback: Callable[..., None], _: object
    ) -> None:
        self.on_event[kind] = callback

    def listAllDomains(self, _flags: int) -> list[SimDomain]:  # noqa: N802 - libvirt's name
        self._need()
        return list(self.sim.domains.values())

    def lookupByName(self, name: str) -> SimDomain:  # noqa: N802 - libvirt's name
        self._need()
        if name not in self.sim.domains:
            raise SimError(NO_DOMAIN, f"Domain not found: no domain with matching name '{name}'")
        return self.sim.domains[name]

    def createXML(self, xml: str, _flags: int) -> SimDomain:  # noqa: N802 - libvirt's name
        self._need()
        match = re.search("<name>(.*)</name>", xml)
        assert match is not None
        if "/nowhere/" in xml:
            raise SimError(SYSTEM_ERROR, "Cannot access storage file '/nowhere/disk': No such file or directory")
        domain = SimDomain(self.sim, match[1], xml)
        self.sim.domains[match[1]] = domain
        self.sim.post(domain, 4, 0)  # as libvirt 11.3 does: resumed, then started
        self.sim.post(domain, 2, 0)
        return domain

    def getType(self) -> str:  # noqa: N802 - libvirt's name
        return "QEMU"

    def getVersion(self) -> int:  # noqa: N802 - libvirt's name
        self._need()
        return 10_000_013

    def getLibVersion(self) -> int:  # noqa: N802 - libvirt's name
        self._need()
        return 11_003_000

    def close(self) -> None:
        self._need()
        self.alive = False


@dataclass(eq=False)
class LibvirtSim:
    """The module."""

    libvirtError = SimError  # noqa: N815 - libvirt's name
    domains: dict[str, SimDomain] = field(default_factory=dict)
    connections: list[SimConnection] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    daemon: bool = True
    work: queue.Queue[Callable[[], Any]] = field(default_factory=queue.Queue)
    opened: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def registerErrorHandler(self, _handler: Callable[..., None], _: object) -> None:  # noqa: N802 - libvirt's name
        pass

    def virEventRegisterDefaultImpl(self) -> None:  # noqa: N802 - libvirt's name
        pass

    def virEventRunDefaultImpl(self) -> None:  # noqa: N802 - libvirt's name
        self.work.get()()

    def open(self, _uri: str) -> SimConnection:
        if not self.daemon:
            raise SimError(SYSTEM_ERROR, "Failed to connect socket to '/run/libvirt/libvirt-sock': Connection refused")
        connection = SimConnection(self)
        self.connections.append(connection)
        self.opened.release()
        return connection

    def post(self, domain: SimDomain, event: int, detail: int) -> None:
        """Queues a lifecycle event for every living connection that registered."""
        self._queue(LIFECYCLE, domain, event, detail)

    def fail_disk(self, name: str, path: str, reason: str, *, action: int = 1) -> None:
        """A guest's disk fails, and it is paused (qemu_process.c), unless QEMU reports it to the guest (action 2)."""
        domain = self.domains[name]
        self._queue(IO_ERROR_REASON, domain, path, "virtio-disk0", action, reason)
        if action == 1 and domain.now[0] == 1:
            domain.now = (3, 5)
            self.post(domain, 3, 2)

    def _queue(self, kind: int, domain: SimDomain, *words: object) -> None:
        for connection in self.connections:
            if connection.alive and kind in connection.on_event:
                callback = connection.on_event[kind]
                self.work.put(lambda c=connection, f=callback: f(c, domain, *words, None))  # type: ignore[misc]

    def bite(self, name: str, action: int) -> None:
        """A watchdog runs out; virDomainEventWatchdogAction says what it does."""
        self._queue(WATCHDOG, self.domains[name], action)

    def panic(self, name: str) -> None:
        """A guest's kernel panics, and libvirt does what on_crash says."""
        if "<on_crash>preserve</on_crash>" in self.domains[name].xml:
            self.domains[name].now = (6, 1)
            self.post(self.domains[name], 8, 0)
        else:
            self.end(name, (8, 0), (5, 2))

    def end(self, name: str, *events: tuple[int, int]) -> None:
        """A domain is gone; events follow."""
        domain = self.domains.pop(name)
        for event in events:
            self.post(domain, *event)

    def kill_daemon(self) -> None:
        """Ends libvirtd: connections break, guests run on."""
        self.daemon = False
        for connection in self.connections:
            connection.alive = False
            if connection.on_close is not None:
                self.work.put(lambda c=connection, f=connection.on_close: f(c, 1, None))  # type: ignore[misc]
