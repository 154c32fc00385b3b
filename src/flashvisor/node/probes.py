"""When does a guest answer? One thread asks all guests, without blocking on any.

A guest that has just started is asked often, until it answers; one with a probe of its own is asked on and on.
Owns asking. Does not own what is asked (questions.py), how (attempts.py), and what is made of it (guests/health.py).

Example::

    with Prober(Ways(heard, hub.attach, driver.ask_agent), machine.reachable) as prober:
        prober.watch("web", Question(Tcp("10.77.0.10", 80)))
        prober.forget("web")
"""

from __future__ import annotations

import logging
import math
import selectors
import socket
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from typing import Protocol as Contract

from flashvisor.errors import FlashvisorError
from flashvisor.guests.health import Health, Verdict, note
from flashvisor.host.clock import monotonic
from flashvisor.model.duration import show_duration
from flashvisor.node.attempts import Call, Ear
from flashvisor.node.questions import Agent, Arp, Http, Serial, Tcp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future, ThreadPoolExecutor

    from flashvisor.node.questions import Question

log = logging.getLogger(__name__)

FIRST_INTERVAL = 0.1  # seconds between two questions to a guest that starts; also how long a connection may take
GROWTH = 1.25  # of the interval, for each question
LONGEST_INTERVAL = 2.0  # seconds
DISCARD_PORT = 9  # RFC 863; a datagram there makes the kernel ask for the address by ARP, and harms nobody
AGENT_THREADS = 4  # how many agents may leave the hypervisor waiting at the same time
AGENT_MARGIN = 5.0  # seconds that the hypervisor may take beyond what it was given


@dataclass(frozen=True)
class Ways:
    """What a prober works with.

    Args:
        heard: Told when a guest answers, with ""; or when it does not, with what is wrong. Only what is new.
        attach: Has a function hear a guest's serial port; returns what ends that. GuestStateError: it has none now.
        ask_agent: Asks a guest's agent, with a limit in seconds (guests/driver.py).
    """

    heard: Callable[[str, str], None]
    attach: Callable[[str, Callable[[bytes], None]], Callable[[], None]]
    ask_agent: Callable[[str, float], None]


@dataclass
class _Watch:
    """A guest that is asked: when next, and the question that is under way, which has until `deadline`.

    A question to an agent that waits for a thread has all the time: who waits for others has missed nothing.
    """

    question: Question
    health: Health
    interval: float = FIRST_INTERVAL
    due: float = 0.0
    deadline: float | None = None
    call: Call | None = None
    ear: Ear | None = None
    asked: Future[None] | None = field(default=None, repr=False)


class Asker(Contract):
    """Whoever finds out when a guest answers. A context manager."""

    def __enter__(self) -> Self:
        """Starts asking."""

    def __exit__(self, *exc: object) -> None:
        """Ends asking."""

    def watch(self, name: str, question: Question) -> None:
        """Asks a guest from now on."""

    def forget(self, name: str) -> None:
        """Asks a guest no more."""


class Prober:
    """Asks guests.

    Args:
        ways: What it works with; `heard` is called from the prober's thread.
        reachable: Returns the addresses that answer ARP.
    """

    def __init__(self, ways: Ways, reachable: Callable[[], Mapping[str, str]]) -> None:
        self._ways, self._reachable = ways, reachable
        self._lock = threading.RLock()
        self._watches: dict[str, _Watch] = {}
        self._agents: ThreadPoolExecutor | None = None
        self._answers: deque[tuple[str, _Watch, str]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._ending = False
        self._thread = threading.Thread(target=self._ask_all, name="prober", daemon=True)

    def __enter__(self) -> Self:
        """Starts asking."""
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Ends asking."""
        self._ending = True
        self._nudge()
        self._thread.join()
        for name in tuple(self._watches):
            self.forget(name)
        if self._agents:
            self._agents.shutdown(cancel_futures=True)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def watch(self, name: str, question: Question) -> None:
        """Asks a guest from now on: until it answers, or, if the question is lasting, until it is forgotten."""
        self.forget(name)
        with self._lock:
            self._watches[name] = _Watch(question, Health(since=monotonic()))
        self._nudge()

    def forget(self, name: str) -> None:
        """Asks a guest no more."""
        with self._lock:
            watch = self._watches.pop(name, None)
            if watch:
                self._hang_up(watch)
                if watch.ear:
                    watch.ear.close()

    def _nudge(self) -> None:
        with suppress(BlockingIOError):  # it is full: the thread will wake up
            self._wake.send(b"x")

    def _ask_all(self) -> None:
        while not self._ending:
            try:
                self._ask_round()
            except Exception:
                # One guest's bug must not end the questions to the others.
                log.exception("the prober failed")

    def _ask_round(self) -> None:
        for key, _ in self._selector.select(self._pause()):
            if key.data:
                self._go_on(*key.data)
            else:
                with suppress(BlockingIOError):
                    self._woken.recv(1 << 10)
        while self._answers:
            name, watch, trouble = self._answers.popleft()
            self._note(name, watch, trouble)
        now = monotonic()
        with self._lock:
            late = [(name, watch) for name, watch in self._watches.items() if _next(watch) <= now]
        for name, watch in late:
            self._take_turn(name, watch, now)

    def _pause(self) -> float | None:
        with self._lock:
            due = min((_next(watch) for watch in self._watches.values()), default=math.inf)
        return None if due == math.inf else max(0.0, due - monotonic())

    def _take_turn(self, name: str, watch: _Watch, now: float) -> None:
        """A guest's time has come: to be asked, or to have answered."""
        if watch.deadline is not None:
            self._note(name, watch, "no answer in time")
            return
        watch.due = now + watch.interval
        watch.interval = min(watch.interval * GROWTH, LONGEST_INTERVAL)
        try:
            trouble = self._ask(name, watch, now)
        except OSError as error:  # the agent has no socket left: the next question may find one
            trouble = error.strerror or str(error)
        if trouble is not None:
            self._note(name, watch, trouble)

    def _ask(self, name: str, watch: _Watch, now: float) -> str | None:
        """Asks once. Returns None while the question is under way; "" for an answer; else what is wrong."""
        match watch.question.target:
            case Arp(address=address):
                _knock(address)
                return "" if address in self._reachable() else "no answer to ARP"
            case Tcp() | Http() as target:
                return self._call(name, watch, target, now)
            case Serial() as target:
                return self._listen(name, watch, target)
            case Agent():
                return self._ask_agent(name, watch)

    def _call(self, name: str, watch: _Watch, target: Tcp | Http, now: float) -> str | None:
        with self._lock:
            if self._watches.get(name) is not watch:
                return None
            call = watch.call = Call(target)
            if call.failed:
                self._hang_up(watch)
                return call.failed
            timeout = watch.question.pace.timeout
            # While a guest starts its packets are lost, and the kernel would send another one only after a second.
            starting = watch.health.verdict is None
            watch.deadline = now + (min(timeout, watch.due - now) if starting else timeout)
            self._selector.register(call.channel, call.events, (name, watch, call))
            return None

    def _go_on(self, name: str, watch: _Watch, call: Call) -> None:
        with self._lock:
            if watch.call is not call:
                return
            was_connected = call.connected
            trouble = call.step()
            if trouble is None:
                if call.connected and not was_connected:
                    watch.deadline = monotonic() + watch.question.pace.timeout
                self._selector.modify(call.channel, call.events, (name, watch, call))
                return
        self._note(name, watch, trouble)

    def _listen(self, name: str, watch: _Watch, target: Serial) -> str:
        with self._lock:
            if self._watches.get(name) is not watch:
                return ""
            if watch.ear is None:
                try:
                    watch.ear = Ear(target, lambda listener: self._ways.attach(name, listener))
                except FlashvisorError as error:
                    return error.what
            return "" if watch.ear.heard_it() else f'no line matched "{target.pattern}"'

    def _ask_agent(self, name: str, watch: _Watch) -> str | None:
        if watch.asked and not watch.asked.done():
            return "the question before was not answered yet"
        if self._agents is None:
            from concurrent.futures import ThreadPoolExecutor  # late: a start counts every module

            self._agents = ThreadPoolExecutor(AGENT_THREADS, "agents")
        watch.deadline = math.inf
        watch.asked = self._agents.submit(self._question_agent, name, watch)
        return None

    def _question_agent(self, name: str, watch: _Watch) -> None:
        timeout, trouble = watch.question.pace.timeout, ""
        with self._lock:
            if self._watches.get(name) is not watch:
                return
            watch.deadline = monotonic() + timeout + AGENT_MARGIN
        self._nudge()
        try:
            self._ways.ask_agent(name, timeout)
        except FlashvisorError as error:
            trouble = error.evidence or error.what
        self._answers.append((name, watch, trouble))
        self._nudge()

    def _note(self, name: str, watch: _Watch, trouble: str) -> None:
        """Notes an answer, or a question that failed, and tells what is new of it."""
        now, pace = monotonic(), watch.question.pace
        with self._lock:
            if self._watches.get(name) is not watch:
                return
            self._hang_up(watch)
            before, watch.health = watch.health, note(watch.health, pace, ok=not trouble, now=now)
            if watch.question.lasting and watch.health.verdict:
                watch.due = now + pace.interval
            if not trouble and not watch.question.lasting:
                self.forget(name)
        if watch.health.verdict is before.verdict:
            return
        if before.verdict is None and watch.health.verdict is Verdict.SILENT:
            trouble = f"no answer within {show_duration(pace.start_period)} of its start: {trouble}"
        self._ways.heard(name, trouble)

    def _hang_up(self, watch: _Watch) -> None:
        watch.deadline = None
        if watch.call:
            with suppress(KeyError):  # it was never registered
                self._selector.unregister(watch.call.channel)
            watch.call.close()
            watch.call = None


def _next(watch: _Watch) -> float:
    return watch.due if watch.deadline is None else watch.deadline


def _knock(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel, suppress(OSError):
        channel.sendto(b"", (address, DISCARD_PORT))
