"""When does a guest answer? One thread asks all guests that have not answered yet, without blocking on any.

A guest with a forwarded TCP port has answered once that port accepts a connection; another one once it answers ARP.
Owns asking. Who is asked is decided in keeper.py.

Example::

    with Prober(answered, machine.reachable) as prober:
        prober.watch("web", Target("10.77.0.10", 80))
        prober.forget("web")
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from typing import Protocol as Contract

from flashvisor.host.clock import monotonic
from flashvisor.model.names import assign_addresses
from flashvisor.model.site import Protocol
from flashvisor.model.wiring import port_range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flashvisor.model.site import Site

FIRST_INTERVAL = 0.1  # seconds between two questions to a guest; also how long an answer may take
GROWTH = 1.25  # of the interval, for each question
LONGEST_INTERVAL = 2.0  # seconds
DISCARD_PORT = 9  # RFC 863; a datagram there makes the kernel ask for the address by ARP, and harms nobody


@dataclass(frozen=True)
class Target:
    """Where a guest answers: an IPv4 address, and a TCP port; without a port, ARP is enough."""

    address: str
    port: int | None = None


def target_of(site: Site, name: str) -> Target | None:
    """Returns where a guest of the site answers; None if it has no card in a subnet of the server's. Pure."""
    first = next((lease for lease in assign_addresses(site) if lease.guest == name), None)
    if first is None:
        return None
    forwards = (forward for forward in site.guest[name].forwards if forward.protocol is Protocol.TCP)
    ports = (forward.to or port_range(forward.port)[0] for forward in forwards)
    return Target(str(first.address), next(ports, None))


@dataclass
class _Watch:
    """A guest that is being asked: the next question, and the connection that is being made."""

    target: Target
    interval: float = FIRST_INTERVAL
    due: float = 0.0
    channel: socket.socket | None = None


class Asker(Contract):
    """Whoever finds out when a guest answers. A context manager."""

    def __enter__(self) -> Self:
        """Starts asking."""

    def __exit__(self, *exc: object) -> None:
        """Ends asking."""

    def watch(self, name: str, target: Target) -> None:
        """Asks a guest from now on, until it answers."""

    def forget(self, name: str) -> None:
        """Asks a guest no more."""


class Prober:
    """Asks guests until they answer.

    Args:
        answered: Called once for each watched guest, from the prober's thread.
        reachable: Returns the addresses that answer ARP.
    """

    def __init__(self, answered: Callable[[str], None], reachable: Callable[[], Mapping[str, str]]) -> None:
        self._answered, self._reachable = answered, reachable
        self._lock = threading.Lock()
        self._watches: dict[str, _Watch] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, "")
        self._ending = False
        self._thread = threading.Thread(target=self._ask_all, name="prober", daemon=True)

    def __enter__(self) -> Self:
        """Starts asking."""
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Ends asking."""
        self._ending = True
        self._wake.send(b"x")
        self._thread.join()
        for watch in self._watches.values():
            self._hang_up(watch)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def watch(self, name: str, target: Target) -> None:
        """Asks a guest from now on, until it answers."""
        self.forget(name)
        with self._lock:
            self._watches[name] = _Watch(target)
        self._wake.send(b"x")

    def forget(self, name: str) -> None:
        """Asks a guest no more."""
        with self._lock:
            watch = self._watches.pop(name, None)
            if watch:
                self._hang_up(watch)

    def _ask_all(self) -> None:
        while not self._ending:
            for key, _ in self._selector.select(self._pause()):
                if key.data:
                    self._hear(key.data)
                else:
                    with suppress(BlockingIOError):
                        self._woken.recv(1 << 10)
            now = monotonic()
            with self._lock:
                late = [name for name, watch in self._watches.items() if watch.due <= now]
            for name in late:
                self._ask(name, now)

    def _pause(self) -> float | None:
        with self._lock:
            due = min((watch.due for watch in self._watches.values()), default=None)
        return None if due is None else max(0.0, due - monotonic())

    def _ask(self, name: str, now: float) -> None:
        with self._lock:
            watch = self._watches.get(name)
            if watch is None:
                return
            self._hang_up(watch)
            watch.due = now + watch.interval
            watch.interval = min(watch.interval * GROWTH, LONGEST_INTERVAL)
            if watch.target.port is not None:
                watch.channel = self._call(name, watch.target.address, watch.target.port)
                return
            address = watch.target.address
        _knock(address)
        if address in self._reachable():
            self._done(name)

    def _call(self, name: str, address: str, port: int) -> socket.socket | None:
        channel = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        if channel.connect_ex((address, port)) in (0, errno.EINPROGRESS):
            self._selector.register(channel, selectors.EVENT_WRITE, name)
            return channel
        channel.close()
        return None

    def _hear(self, name: str) -> None:
        with self._lock:
            watch = self._watches.get(name)
            if watch is None or watch.channel is None:
                return
            status = watch.channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._hang_up(watch)
        if status == 0:
            self._done(name)

    def _done(self, name: str) -> None:
        with self._lock:
            if self._watches.pop(name, None) is None:
                return
        self._answered(name)

    def _hang_up(self, watch: _Watch) -> None:
        if watch.channel:
            self._selector.unregister(watch.channel)
            watch.channel.close()
            watch.channel = None


def _knock(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel, suppress(OSError):
        channel.sendto(b"", (address, DISCARD_PORT))
