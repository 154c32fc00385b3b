"""What each guest is asked."""

from __future__ import annotations

import pytest

from flashvisor.guests.health import Pace
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.node.questions import Agent, Arp, Http, Question, Serial, Target, Tcp, questions
from sim.nodekit import SECOND_GUEST, SITE


def asked(text: str) -> Question | None:
    site = parse_site(text)
    check_site(site)
    return questions(site).get("hello")


def probed(probe: str) -> Question | None:
    return asked(SITE + f"probe = {probe}\n")


def test_without_a_probe_a_guest_answers_at_its_first_forwarded_tcp_port_or_by_arp() -> None:
    assert asked(SITE) == Question(Tcp("10.77.0.10", 80))
    assert asked(SITE.replace("to = 80", 'to = 80, protocol = "udp"')) == Question(Arp("10.77.0.10"))
    assert asked(SITE.split("nics")[0]) is None
    ranged = asked(SITE.replace("port = 8080, to = 80", 'port = "8080-8090"'))
    assert ranged == Question(Tcp("10.77.0.10", 8080))
    bridged = parse_site(SITE.replace('subnet = "10.77.0.0/24"', 'kind = "bridge"'))
    assert questions(bridged) == {}, "its addresses are not the server's business"
    second = questions(parse_site(SITE + SECOND_GUEST))["second"]
    assert isinstance(second.target, Arp)


@pytest.mark.parametrize(
    ("probe", "target"),
    [
        ("{ tcp = 22 }", Tcp("10.77.0.10", 22)),
        ('{ http = "/" }', Http("10.77.0.10", 80, "/", 200)),
        ('{ http = "/up", port = 8080, expect = 204 }', Http("10.77.0.10", 8080, "/up", 204)),
        ('{ serial = "login:" }', Serial("login:")),
        ("{ agent = true }", Agent()),
    ],
)
def test_a_probe_is_what_is_asked(probe: str, target: Target) -> None:
    found = probed(probe)
    assert found is not None
    assert found.target == target


def test_a_probe_is_asked_for_ever_except_what_a_serial_port_says_once() -> None:
    for probe, lasting in (("{ tcp = 22 }", True), ("{ agent = true }", True), ('{ serial = "a" }', False)):
        found = probed(probe)
        assert found is not None
        assert found.lasting is lasting


def test_a_probe_is_asked_at_its_pace() -> None:
    found = probed('{ tcp = 22, interval = "1m", timeout = "5s", failures = 9, start_period = "1h" }')
    assert found is not None
    assert found.pace == Pace(60.0, 5.0, 9, 3600.0)


def test_a_guest_without_a_card_may_have_a_probe() -> None:
    assert asked(SITE.split("nics")[0] + "probe = { agent = true }\n") is not None


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Arp("10.0.0.1"), "ARP for 10.0.0.1"),
        (Tcp("10.0.0.1", 22), "TCP 10.0.0.1:22"),
        (Http("10.0.0.1", 80, "/up", 204), "http://10.0.0.1:80/up with status 204"),
        (Serial("login:"), '"login:" on its serial port'),
        (Agent(), "its guest agent"),
    ],
)
def test_a_question_in_words(target: Target, words: str) -> None:
    assert str(target) == words
