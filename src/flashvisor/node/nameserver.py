"""The server's name server: answers for guests' names, and passes everything else on. One thread; nothing is cached.

Owns sockets. What is answered is decided in zones.py, how much may be asked in firewall.py; why this is our own code
stands in docs/adr/0028::

    names = Nameserver(upstreams)       # a function: the addresses of the world's name servers, as they are now
    names.serve(zones)                  # from now on, until called again

Over UDP each question that is passed on has a socket, and so a random port, of its own (RFC 5452). Over TCP, which is
what clients take to after an answer that was too long, each call has a thread; both are few.
"""

from __future__ import annotations

import logging
import selectors
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flashvisor.host.clock import monotonic
from flashvisor.model.dnsmessage import Code, answer, answers, read_question
from flashvisor.node.zones import reply_to

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Address

    from flashvisor.node.zones import Zone

log = logging.getLogger(__name__)

PORT = 53
LONGEST = 65_535  # bytes of a message
PATIENCE = 3.0  # seconds for an answer from outside; clients ask again after 5
MOST_ASKED = 256  # questions outside at one time
MOST_CALLS = 16  # TCP connections at one time
SHARE = 4  # one network has at most the fourth part of both: whoever asks what nobody answers takes no other's names
IP_FREEBIND = 15  # ip(7): the network's address may come later than this
LENGTH = struct.Struct(">H")  # before each message on TCP (RFC 1035, 4.2.2)


@dataclass(frozen=True)
class _Asked:
    """A question that was passed on: whom the answer is for, and until when it may come."""

    listener: socket.socket
    client: tuple[str, int]
    query: bytes
    due: float


class Nameserver:
    """Answers guests' questions.

    Args:
        upstreams: Returns the addresses of name servers that know the world; called for each question.
        port: Where it listens, and where they do.
    """

    def __init__(self, upstreams: Callable[[], Sequence[str]], *, port: int = PORT) -> None:
        self._upstreams, self._port = upstreams, port
        self._lock = threading.Lock()
        self._wanted: tuple[Zone, ...] = ()
        self._serving: tuple[Zone, ...] = ()
        self._listeners: list[socket.socket] = []
        self._asked: dict[socket.socket, _Asked] = {}
        self._calls: Counter[IPv4Address] = Counter()  # by the network that they came from
        self._silent = 0  # how often nobody answered: the next question goes to the next server
        self._wake: socket.socket | None = None

    def serve(self, zones: tuple[Zone, ...]) -> None:
        """Serves these networks from now on, and no other. Returns at once; the first call starts the thread."""
        with self._lock:
            self._wanted = zones
            if self._wake is None:
                self._wake, woken = socket.socketpair()
                woken.setblocking(False)
                self._selector = selectors.DefaultSelector()
                self._selector.register(woken, selectors.EVENT_READ, partial(self._hear_wake, woken))
                self._thread = threading.Thread(target=self._run, args=(woken,), name="names", daemon=True)
                self._thread.start()
            self._wake.send(b"x")

    @property
    def open_questions(self) -> int:
        """How many questions wait for an answer from outside."""
        return len(self._asked)

    def close(self) -> None:
        """Ends it, if it was started."""
        if self._wake:
            self._wake.close()
            self._thread.join()
            self._wake = None

    def _run(self, woken: socket.socket) -> None:
        with woken, self._selector:
            self._attend()
        for each in (*self._listeners, *self._asked):
            each.close()
        self._listeners.clear()
        self._asked.clear()

    def _attend(self) -> None:
        self._ending = False
        while not self._ending:
            for key, _ in self._selector.select(self._pause()):
                try:
                    key.data()
                except OSError as error:
                    log.warning("names: %s", error)
            self._forget_late()

    def _pause(self) -> float | None:
        due = min((asked.due for asked in self._asked.values()), default=None)
        return None if due is None else max(0.0, due - monotonic())

    def _hear_wake(self, woken: socket.socket) -> None:
        # Nothing comes from an end that was closed.
        self._ending = woken.recv(1 << 10) == b""
        with self._lock:
            wanted = self._wanted
        if [zone.listen for zone in wanted] == [zone.listen for zone in self._serving] and self._listeners:
            # Only names changed: nothing that is under way is lost. Listeners look their zone up by its place.
            self._serving = wanted
            return
        for listener in self._listeners:
            self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()
        self._serving = wanted
        for index, zone in enumerate(wanted):
            self._listen(index, str(zone.listen))

    def _listen(self, index: int, address: str) -> None:
        calls: tuple[tuple[socket.SocketKind, Callable[[int, socket.socket], None]], ...] = (
            (socket.SOCK_DGRAM, self._hear_question),
            (socket.SOCK_STREAM, self._hear_call),
        )
        for kind, hear in calls:
            listener = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
                listener.bind((address, self._port))
                if kind is socket.SOCK_STREAM:
                    listener.listen(MOST_CALLS)
            except OSError as error:
                listener.close()
                log.warning("names: nobody is answered at %s: %s", address, error)
                continue
            self._listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ, partial(hear, index, listener))

    def _hear_question(self, index: int, listener: socket.socket) -> None:
        query, client = listener.recvfrom(LONGEST)
        question = read_question(query)
        if question is None:
            return
        reply = reply_to(self._serving[index], question)
        if reply is None and not self._pass_on(_Asked(listener, client, query, monotonic() + PATIENCE)):
            reply = answer(question, code=Code.FAILED)
        if reply is not None:
            listener.sendto(reply, client)

    def _pass_on(self, asked: _Asked) -> bool:
        same = sum(each.listener is asked.listener for each in self._asked.values())
        if same >= MOST_ASKED // SHARE or len(self._asked) >= MOST_ASKED:
            return False
        for family, place in self._servers():
            channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                channel.connect(place)
                channel.send(asked.query)
            except OSError as error:
                channel.close()
                self._silent += 1
                log.info("names: %s cannot be asked: %s", place[0], error)
                continue
            self._asked[channel] = asked
            self._selector.register(channel, selectors.EVENT_READ, partial(self._hear_answer, channel))
            return True
        return False

    def _hear_answer(self, channel: socket.socket) -> None:
        asked = self._asked[channel]
        try:
            reply = channel.recv(LONGEST)
        except OSError:
            self._silent += 1  # it said that nobody listens there
            self._forget(channel)
            return
        # Anything else came from somebody who only guessed: the answer may still come.
        if answers(reply, asked.query):
            self._forget(channel)
            if asked.listener.fileno() >= 0:
                asked.listener.sendto(reply, asked.client)

    def _forget_late(self) -> None:
        now = monotonic()
        for channel in [channel for channel, asked in self._asked.items() if asked.due <= now]:
            self._silent += 1
            self._forget(channel)

    def _forget(self, channel: socket.socket) -> None:
        del self._asked[channel]
        self._selector.unregister(channel)
        channel.close()

    def _servers(self) -> list[tuple[socket.AddressFamily, Any]]:
        """The world's name servers, the one that answered last first."""
        found: list[tuple[socket.AddressFamily, Any]] = []
        for text in self._upstreams():
            with suppress(OSError, UnicodeError):  # getaddrinfo raises both for what is no address
                entry = socket.getaddrinfo(text, self._port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
                found.append((entry[0], entry[4]))
        first = self._silent % len(found) if found else 0
        return found[first:] + found[:first]

    def _hear_call(self, index: int, listener: socket.socket) -> None:
        call, _ = listener.accept()
        zone = self._serving[index]
        with self._lock:
            if self._calls[zone.listen] >= MOST_CALLS // SHARE or self._calls.total() >= MOST_CALLS:
                call.close()
                return
            self._calls[zone.listen] += 1
        threading.Thread(target=self._converse, args=(call, zone), name="names-tcp", daemon=True).start()

    def _converse(self, call: socket.socket, zone: Zone) -> None:
        try:
            with call, suppress(OSError):
                call.settimeout(PATIENCE)
                while query := _receive(call):
                    question = read_question(query)
                    if question is None:
                        return
                    reply = reply_to(zone, question) or self._ask(query) or answer(question, code=Code.FAILED)
                    call.sendall(LENGTH.pack(len(reply)) + reply)
        finally:
            with self._lock:
                self._calls[zone.listen] -= 1

    def _ask(self, query: bytes) -> bytes | None:
        for _, place in self._servers():
            with suppress(OSError), socket.create_connection(place[:2], timeout=PATIENCE) as channel:
                channel.sendall(LENGTH.pack(len(query)) + query)
                reply = _receive(channel)
                if answers(reply, query):
                    return reply
        return None


def _receive(channel: socket.socket) -> bytes:
    """Returns one message, or b"" where the other end has none."""
    head = _exactly(channel, LENGTH.size)
    return _exactly(channel, LENGTH.unpack(head)[0]) if head else b""


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = channel.recv(size - len(data))
        if not part:
            return b""
        data += part
    return data
