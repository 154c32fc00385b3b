"""What guests are told of names."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from flashvisor.model.dnsmessage import AAAA, ANY, PTR, A, Code, encode_name, read_question
from flashvisor.node.zones import LOOPBACK, Zone, reply_to
from sim.dns import code_of, data_of, query

WEB, WEB6, DB = IPv4Address("10.77.0.10"), IPv6Address("fd00:77::10"), IPv4Address("10.77.0.11")
MX = 15


def zone(*, world: bool = True) -> Zone:
    names = {"web": (WEB, WEB6), "db": (DB,)}
    return Zone(IPv4Address("10.77.0.1"), "inside.internal", names, world=world)


def ask(name: str, kind: int, where: Zone | None = None) -> bytes | None:
    question = read_question(query(name, kind))
    assert question is not None
    return reply_to(where or zone(), question)


@pytest.mark.parametrize("name", ["web", "WEB", "web.inside.internal", "web.inside.internal."])
def test_guests_are_known_with_and_without_their_domain(name: str) -> None:
    reply = ask(name, A)
    assert reply is not None
    assert data_of(reply) == [WEB.packed]


def test_each_type_of_question_gets_its_type_of_answer() -> None:
    assert data_of(ask("web", AAAA) or b"") == [WEB6.packed]
    assert data_of(ask("web", ANY) or b"") == [WEB.packed, WEB6.packed]
    for name, kind in (("db", AAAA), ("web", MX)):
        reply = ask(name, kind)
        assert reply is not None
        assert (code_of(reply), data_of(reply)) == (Code.OK, []), "the name is there, and has nothing of that type"


@pytest.mark.parametrize("address", [WEB, WEB6])
def test_addresses_lead_back_to_names(address: IPv4Address | IPv6Address) -> None:
    assert data_of(ask(address.reverse_pointer, PTR) or b"") == [encode_name("web.inside.internal")]


@pytest.mark.parametrize("name", ["nobody", "nobody.inside.internal", "web.other.internal", "internal"])
def test_private_names_never_leave(name: str) -> None:
    reply = ask(name, A)
    assert reply is not None
    assert code_of(reply) == Code.NO_SUCH_NAME


def test_the_world_is_asked_for_networks_that_reach_it_and_refused_to_others() -> None:
    assert ask("debian.org", A) is None
    assert ask("", 2) is None
    assert ask("10.0.77.9.in-addr.arpa", PTR) is None
    assert code_of(ask("debian.org", A, zone(world=False)) or b"") == Code.REFUSED
    assert data_of(ask("web", A, zone(world=False)) or b"") == [WEB.packed]


def test_the_server_itself_asks_about_the_world_only() -> None:
    assert ask("debian.org", A, LOOPBACK) is None
    assert code_of(ask("web.inside.internal", A, LOOPBACK) or b"") == Code.NO_SUCH_NAME
