"""A guest has answered when its port accepts, or when ARP does."""

from __future__ import annotations

import queue
import socket
from typing import TYPE_CHECKING

import pytest

from flashvisor.model.sitefile import parse_site
from flashvisor.node.probes import Prober, Target, target_of
from sim.nodekit import SECOND_GUEST, SITE

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 10.0  # seconds; a test that needs them has failed


@pytest.fixture
def port() -> Iterator[tuple[socket.socket, int]]:
    """A port of this machine that refuses until somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener, listener.getsockname()[1]


def test_a_port_that_comes_up_later_is_told_once(port: tuple[socket.socket, int]) -> None:
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    with Prober(answers.put, dict) as prober:
        prober.watch("web", Target("127.0.0.1", port[1]))
        with pytest.raises(queue.Empty):
            answers.get(timeout=0.3)
        port[0].listen()
        assert answers.get(timeout=LIMIT) == "web"
    with pytest.raises(queue.Empty):
        answers.get_nowait()


def test_without_a_port_arp_is_enough() -> None:
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    known: dict[str, str] = {}
    with Prober(answers.put, lambda: known) as prober:
        prober.watch("web", Target("127.0.0.77"))
        known["127.0.0.77"] = "52:54:00:00:00:01"
        assert answers.get(timeout=LIMIT) == "web"


def test_a_forgotten_guest_is_asked_no_more(port: tuple[socket.socket, int]) -> None:
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    with Prober(answers.put, dict) as prober:
        prober.watch("web", Target("127.0.0.1", port[1]))
        prober.forget("web")
        port[0].listen()
        prober.watch("other", Target("127.0.0.1", port[1]))
        assert answers.get(timeout=LIMIT) == "other"
    with pytest.raises(queue.Empty):
        answers.get_nowait()


def test_where_a_guest_answers() -> None:
    site = parse_site(SITE + SECOND_GUEST)
    assert target_of(site, "hello") == Target("10.77.0.10", 80)
    second = target_of(site, "second")
    assert second is not None
    assert second.port is None
    udp = parse_site(SITE.replace("to = 80", 'to = 80, protocol = "udp"'))
    assert target_of(udp, "hello") == Target("10.77.0.10", None)
    alone = parse_site(SITE.split("nics")[0])
    assert target_of(alone, "hello") is None
    ranged = parse_site(SITE.replace("port = 8080, to = 80", 'port = "8080-8090"'))
    assert target_of(ranged, "hello") == Target("10.77.0.10", 8080)
    bridged = parse_site(SITE.replace('subnet = "10.77.0.0/24"', 'kind = "bridge"'))
    assert target_of(bridged, "hello") is None, "its addresses are not the server's business"
