"""Who starts before whom: nobody is lost, nobody comes too early, and a ring is named."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.errors import StartRingError
from flashvisor.model.sitefile import check_site
from flashvisor.model.startorder import lower, ring, stop_order, turn, turn_in_words, waves
from sim.sitegraph import Graph, Turn, graphs, site_of


def waits_for(graph: Graph, name: str) -> set[str]:
    order = graph[name].order
    below = set()
    for other, each in graph.items():
        if order is not None and each.order is not None and each.order < order:
            below.add(other)
    return below | graph[name].after


@given(graphs(rings=False))
def test_each_guest_starts_once_and_after_all_it_waits_for(graph: Graph) -> None:
    site = site_of(graph)
    check_site(site)
    order = waves(site)
    flat = [name for wave in order for name in wave]
    assert sorted(flat) == sorted(graph)
    wave_of = {name: index for index, wave in enumerate(order) for name in wave}
    for name in graph:
        assert all(wave_of[other] < wave_of[name] for other in waits_for(graph, name))
        # Nor later than it has to.
        assert wave_of[name] == max((wave_of[other] + 1 for other in waits_for(graph, name)), default=0)


@given(graphs())
def test_a_ring_is_named_or_there_is_none(graph: Graph) -> None:
    site = site_of(graph)
    found = ring(site)
    if found:
        assert found[0] == found[-1]
        assert len(found) > 1
        for one, other in pairwise(found):
            assert other in waits_for(graph, one)
        with pytest.raises(StartRingError) as caught:
            check_site(site)
        assert f"{found[0]} waits for {found[1]}" in caught.value.what
    else:
        check_site(site)
        assert {name for wave in waves(site) for name in wave} == set(graph)


@given(graphs(rings=False), st.data())
def test_guests_stop_in_the_opposite_order(graph: Graph, data: st.DataObject) -> None:
    running = data.draw(st.frozensets(st.sampled_from([*graph, "stranger"])))
    order = stop_order(site_of(graph), running)
    flat = [name for wave in order for name in wave]
    assert sorted(flat) == sorted(running)
    assert all(order)
    place = {name: index for index, wave in enumerate(order) for name in wave}
    for name in running & graph.keys():
        assert all(place[name] < place[other] for other in waits_for(graph, name) & running)


def test_without_a_site_all_stop_at_once() -> None:
    assert stop_order(None, {"b", "a"}) == (("a", "b"),)


def test_a_guest_without_order_waits_for_no_order() -> None:
    site = site_of({"a": Turn(order=1), "b": Turn(order=2), "c": Turn()})
    assert lower(site, "b") == {"a"}
    assert lower(site, "c") == frozenset()
    assert waves(site) == (("a", "c"), ("b",))


def test_an_order_and_an_after_can_make_a_ring_together() -> None:
    assert ring(site_of({"a": Turn(order=1, after=frozenset({"b"})), "b": Turn(order=2)}))


def test_a_turn_in_words() -> None:
    site = site_of({"a": Turn(order=3), "b": Turn(frozenset({"a"})), "c": Turn(frozenset({"a", "b"}), 4, "started")})
    assert turn_in_words(site.guest["a"]) == "in order 3"
    assert turn_in_words(site.guest["b"]) == "once a answers"
    assert turn_in_words(site.guest["c"]) == "in order 4, once a and b run"
    assert turn(site.guest["b"]).after == ("a",)
