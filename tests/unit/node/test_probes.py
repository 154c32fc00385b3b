"""A guest has answered when its port accepts, or ARP does, or whatever its probe asks for; and then on and on."""

from __future__ import annotations

import errno
import os
import queue
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import GuestSilentError, GuestStateError
from flashvisor.guests.health import Pace
from flashvisor.node import probes
from flashvisor.node.probes import Prober, Ways
from flashvisor.node.questions import Agent, Arp, Http, Question, Serial, Tcp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 10.0  # seconds; a test that needs them has failed
QUICK = Pace(interval=0.05, timeout=0.3, failures=2, start_period=0.5)


class Rig:
    """A prober, and all that it asks."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.addresses: dict[str, str] = {}
        self.agents: dict[str, threading.Event] = {}
        self.asked: list[tuple[str, float]] = []
        self.listeners: dict[str, Callable[[bytes], None]] = {}
        self.ports: set[str] = set()
        self.sockets = True
        self.prober = Prober(Ways(self._hear, self._attach, self._ask_agent), self._reachable)

    def next(self) -> tuple[str, str]:
        """What is told next: a guest, and what is wrong with it."""
        return self.heard.get(timeout=LIMIT)

    def quiet(self, seconds: float = 0.3) -> None:
        """Nothing is told for a while."""
        with pytest.raises(queue.Empty):
            self.heard.get(timeout=seconds)

    def _reachable(self) -> dict[str, str]:
        if not self.sockets:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.addresses

    def _hear(self, name: str, trouble: str) -> None:
        if name == "bug":
            raise RuntimeError(name)
        self.heard.put((name, trouble))

    def _attach(self, name: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        if name not in self.ports:
            raise GuestStateError(f"guest {name} has no console now")
        self.listeners[name] = listener

        def detach() -> None:
            del self.listeners[name]

        return detach

    def _ask_agent(self, name: str, limit: float) -> None:
        self.asked.append((name, limit))
        if not self.agents.setdefault(name, threading.Event()).wait(limit):
            raise GuestSilentError(f"guest {name}", evidence="no agent there")


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    with made.prober:
        yield made


@pytest.fixture
def port() -> Iterator[tuple[socket.socket, int]]:
    """A port of this machine that refuses until somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener, listener.getsockname()[1]


@contextmanager
def web(status: list[bytes]) -> Iterator[int]:
    """A web server that answers with the first status, or not at all while there is none."""
    ending = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            while not ending.is_set():
                try:
                    channel, _ = listener.accept()
                except TimeoutError:
                    continue
                with channel:
                    channel.recv(1 << 12)
                    if status:
                        channel.sendall(b"HTTP/1.1 " + status[0] + b"\r\n\r\n")
                    else:
                        ending.wait(0.5)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        ending.set()
        thread.join()


def test_a_port_that_comes_up_later_is_told_once(rig: Rig, port: tuple[socket.socket, int]) -> None:
    rig.prober.watch("web", Question(Tcp("127.0.0.1", port[1])))
    rig.quiet()
    port[0].listen()
    assert rig.next() == ("web", "")
    rig.quiet()


def test_without_a_port_arp_is_enough(rig: Rig) -> None:
    rig.prober.watch("web", Question(Arp("127.0.0.77")))
    rig.addresses["127.0.0.77"] = "52:54:00:00:00:01"
    assert rig.next() == ("web", "")


def test_a_forgotten_guest_is_asked_no_more(rig: Rig, port: tuple[socket.socket, int]) -> None:
    rig.prober.watch("web", Question(Tcp("127.0.0.1", port[1])))
    rig.prober.forget("web")
    port[0].listen()
    rig.prober.watch("other", Question(Tcp("127.0.0.1", port[1])))
    assert rig.next() == ("other", "")
    rig.quiet()


def test_a_guest_that_never_answers_is_told_once_and_why(rig: Rig, port: tuple[socket.socket, int]) -> None:
    rig.prober.watch("web", Question(Tcp("127.0.0.1", port[1]), QUICK))
    assert rig.next() == ("web", "no answer within 500 ms of its start: Connection refused")
    rig.quiet()
    port[0].listen()
    assert rig.next() == ("web", "")


def test_a_probe_goes_on_after_the_first_answer(rig: Rig) -> None:
    status = [b"200 OK"]
    with web(status) as port:
        rig.prober.watch("web", Question(Http("127.0.0.1", port, "/", 200), QUICK, lasting=True))
        assert rig.next() == ("web", "")
        status[0] = b"500 Internal Server Error"
        assert rig.next() == ("web", "it answered with status 500, not 200")
        rig.quiet()
        status[0] = b"200 OK"
        assert rig.next() == ("web", "")


def test_a_server_that_hangs_is_told_so(rig: Rig) -> None:
    status: list[bytes] = [b"200 OK"]
    with web(status) as port:
        rig.prober.watch("web", Question(Http("127.0.0.1", port, "/", 200), QUICK, lasting=True))
        assert rig.next() == ("web", "")
        status.clear()
        assert rig.next() == ("web", "no answer in time")


def test_one_guest_that_hangs_does_not_keep_others_waiting(rig: Rig, port: tuple[socket.socket, int]) -> None:
    port[0].listen()
    slow = Pace(timeout=60.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        rig.prober.watch("mute", Question(Http("127.0.0.1", mute.getsockname()[1], "/", 200), slow, lasting=True))
        rig.prober.watch("agent", Question(Agent(), Pace(timeout=0.5), lasting=True))
        rig.prober.watch("web", Question(Tcp("127.0.0.1", port[1])))
        assert rig.next() == ("web", "")


def test_a_serial_port_is_listened_to_until_the_pattern_comes(rig: Rig) -> None:
    rig.prober.watch("web", Question(Serial("login:"), QUICK))
    assert rig.next() == ("web", "no answer within 500 ms of its start: guest web has no console now")
    rig.ports.add("web")
    rig.prober.watch("web", Question(Serial("login:"), Pace()))
    while "web" not in rig.listeners:
        rig.quiet(0.05)
    rig.listeners["web"](b"alpha lo")
    rig.listeners["web"](b"gin: ")
    assert rig.next() == ("web", "")
    assert rig.listeners == {}


def test_whoever_is_forgotten_is_not_listened_to(rig: Rig) -> None:
    rig.ports.add("web")
    rig.prober.watch("web", Question(Serial("login:")))
    while "web" not in rig.listeners:
        rig.quiet(0.05)
    rig.prober.forget("web")
    assert rig.listeners == {}


def test_an_agent_is_asked_again_and_again_with_its_limit(rig: Rig) -> None:
    agent = rig.agents["web"] = threading.Event()
    rig.prober.watch("web", Question(Agent(), QUICK, lasting=True))
    assert rig.next() == ("web", "no answer within 500 ms of its start: no agent there")
    agent.set()
    assert rig.next() == ("web", "")
    agent.clear()
    assert rig.next() == ("web", "no agent there")
    assert {limit for _, limit in rig.asked} == {0.3}


def test_an_answer_to_an_older_question_is_not_taken_for_the_new_one(rig: Rig) -> None:
    agent = rig.agents["web"] = threading.Event()
    rig.prober.watch("web", Question(Agent(), Pace(timeout=5.0), lasting=True))
    while not rig.asked:
        rig.quiet(0.05)
    rig.prober.watch("web", Question(Arp("127.0.0.77"), lasting=True))
    agent.set()
    rig.quiet()


def test_an_agent_that_waits_for_others_has_missed_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "AGENT_MARGIN", 0.0)
    for number in range(probes.AGENT_THREADS):
        rig.prober.watch(f"mute{number}", Question(Agent(), Pace(timeout=1.0), lasting=True))
    rig.quiet(0.2)
    assert len(rig.asked) == probes.AGENT_THREADS
    rig.agents["web"] = threading.Event()
    rig.agents["web"].set()
    rig.prober.watch("web", Question(Agent(), QUICK, lasting=True))
    assert rig.next() == ("web", "")


def test_want_of_sockets_is_told_and_ends_nothing(rig: Rig) -> None:
    rig.addresses["127.0.0.77"], rig.sockets = "52:54:00:00:00:01", False
    rig.prober.watch("web", Question(Arp("127.0.0.77"), QUICK))
    assert rig.next() == ("web", "no answer within 500 ms of its start: Too many open files")
    rig.sockets = True
    assert rig.next() == ("web", "")


def test_a_bug_in_who_hears_it_does_not_end_the_questions(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.addresses["127.0.0.77"] = "52:54:00:00:00:01"
    rig.prober.watch("bug", Question(Arp("127.0.0.77")))
    rig.quiet()
    assert "the prober failed" in caplog.text
    rig.prober.watch("web", Question(Arp("127.0.0.77")))
    assert rig.next() == ("web", "")


def test_leaving_does_not_wait_for_answers() -> None:
    made = Rig()
    with made.prober, socket.create_server(("127.0.0.1", 0)) as mute:
        made.prober.watch("web", Question(Http("127.0.0.1", mute.getsockname()[1], "/", 200), Pace(timeout=60.0)))
        made.quiet(0.2)
    made.quiet(0.05)
